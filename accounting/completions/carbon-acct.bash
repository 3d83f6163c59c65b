# Completion of carbon-acct. Written by docs/man/generate.py from the program's parser.
_carbon_acct() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words="" list="" head=""
    if [[ $current == "=" ]]; then current=""; fi
    if [[ $before == "=" ]]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi
    case $before in
        -s|--state) words="BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED RUNNING REQUEUED RESIZING REVOKED SUSPENDED TIMEOUT" list=, ;;
        -S|--starttime) words="today midnight now-1hours now-1days now-7days" ;;
        -E|--endtime) words="now today" ;;
        --month) words="this last" ;;
        --by) words="user account partition qos state cluster day week month" list=, ;;
        --compare) words="previous year" ;;
        -o|--format|--fields) words="JobID JobIDRaw JobName User Account Partition QOS Cluster State ExitCode Restarts Submit Start End Elapsed ElapsedRaw NNodes NCPUS AllocTRES NodeList Energy EnergyRaw CPUEnergyRaw DRAMEnergyRaw GPUEnergyRaw OtherEnergyRaw StaticEnergyRaw EstimatedEnergyRaw AvePower FacilityEnergyRaw PUE Carbon CarbonRaw CarbonMarketRaw EmbodiedRaw Intensity IntensitySource Zone Coverage Quality UpstreamRaw TDRaw SCI UID Group GID DerivedExitCode Reason Comment WorkDir Eligible Suspended Timelimit TimelimitRaw AllocNodes ReqNodes AllocCPUS ReqCPUS CPUTime CPUTimeRAW TotalCPU CPUEff ReqTRES GPUIdleEnergyRaw CPUUnusedEnergyRaw QualityNotes" list=, ;;
        --units) words="K M G T P Wh kWh MWh kJ MJ g kg t" ;;
        -u|--user|--uid|-g|--gid|--group|-A|--accounts|-r|--partition|-q|--qos|-j|--jobs|-N|--nodelist|-M|--clusters|--cluster|--name|-i|--nnodes|-I|--ncpus|-k|--timelimit-min|-K|--timelimit-max|--top|--delimiter) return ;;
        *)
            words="-h --help -a --allusers -u --user --uid -g --gid --group -A --accounts -r --partition -q --qos -s --state -j --jobs -N --nodelist -M --clusters --cluster -L --allclusters --name -i --nnodes -I --ncpus -k --timelimit-min -K --timelimit-max -D --duplicates -S --starttime -E --endtime --month -T --truncate --by --top --compare --waste --idle --advice -o --format --fields -b --brief -l --long -n --noheader -p --parsable -P --parsable2 --delimiter --units --noconvert --use-local-uid --json --csv -e --helpformat -v --verbose --web --usage --debug -V --version"
            if ((COMP_CWORD == 1)); then words+=" show"; fi ;;
    esac
    if [[ $list && $current == *,* ]]; then
        head=${current%,*},
        current=${current##*,}
    fi
    mapfile -t COMPREPLY < <(shopt -s nocasematch; for word in $words; do
        if [[ $word == "$current"* ]]; then printf '%s\n' "$head$word"; fi
    done)
    if [[ $list && ${#COMPREPLY[@]} -gt 0 ]]; then compopt -o nospace; fi
}
complete -F _carbon_acct carbon-acct
