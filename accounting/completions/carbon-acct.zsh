#compdef carbon-acct
# Completion of carbon-acct. Written by docs/man/generate.py from the program's parser.
_arguments \
    '-h[show this help message and exit]' \
    '--help[show this help message and exit]' \
    '-a[jobs of all users, as far as you may see them]' \
    '--allusers[jobs of all users, as far as you may see them]' \
    '-u[jobs of these users; without it your own, for root all]:list:' \
    '--user=[jobs of these users; without it your own, for root all]:list:' \
    '--uid=[jobs of these users; without it your own, for root all]:list:' \
    '-g[jobs under these groups]:list:' \
    '--gid=[jobs under these groups]:list:' \
    '--group=[jobs under these groups]:list:' \
    '-A[jobs under these accounts]:list:' \
    '--accounts=[jobs under these accounts]:list:' \
    '-r[jobs in these partitions]:list:' \
    '--partition=[jobs in these partitions]:list:' \
    '-q[jobs with these qualities of service]:list:' \
    '--qos=[jobs with these qualities of service]:list:' \
    '-s[jobs in these states in the window, e.g. CA or CANCELLED]:list:_values -s , list BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED RUNNING REQUEUED RESIZING REVOKED SUSPENDED TIMEOUT' \
    '--state=[jobs in these states in the window, e.g. CA or CANCELLED]:list:_values -s , list BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED RUNNING REQUEUED RESIZING REVOKED SUSPENDED TIMEOUT' \
    '-j[these jobs\: 12, 12_3, 12_\[1-4\], 12+1]:list:' \
    '--jobs=[these jobs\: 12, 12_3, 12_\[1-4\], 12+1]:list:' \
    '-N[jobs that ran on any of these nodes, e.g. n\[1-4\]]:list:' \
    '--nodelist=[jobs that ran on any of these nodes, e.g. n\[1-4\]]:list:' \
    '-M[jobs of these clusters, or `all`]:list:' \
    '--clusters=[jobs of these clusters, or `all`]:list:' \
    '--cluster=[jobs of these clusters, or `all`]:list:' \
    '-L[jobs of all clusters]' \
    '--allclusters[jobs of all clusters]' \
    '--name=[jobs with these names, exactly]:list:' \
    '-i[jobs with so many nodes]:min[-max]:' \
    '--nnodes=[jobs with so many nodes]:min[-max]:' \
    '-I[jobs with so many CPUs]:min[-max]:' \
    '--ncpus=[jobs with so many CPUs]:min[-max]:' \
    '-k[jobs with this time limit; with -K the least]:time:' \
    '--timelimit-min=[jobs with this time limit; with -K the least]:time:' \
    '-K[the greatest time limit; nothing without -k]:time:' \
    '--timelimit-max=[the greatest time limit; nothing without -k]:time:' \
    '-D[every run of a JobID, not only the newest]' \
    '--duplicates[every run of a JobID, not only the newest]' \
    '-S[start; with -j the epoch, with -s now]:time:(today midnight now-1hours now-1days now-7days)' \
    '--starttime=[start; with -j the epoch, with -s now]:time:(today midnight now-1hours now-1days now-7days)' \
    '-E[end; with -s the start, else now]:time:(now today)' \
    '--endtime=[end; with -s the start, else now]:time:(now today)' \
    '--month=[a month of the site\: 2026-10, this or last]:month:(this last)' \
    '-T[only what lies inside the window counts]' \
    '--truncate[only what lies inside the window counts]' \
    '--by=[a row for each user, account, partition, qos, state, cluster, day, week, month, or several of them]:words:_values -s , words user account partition qos state cluster day week month' \
    '--top=[only the N rows of most energy, and the others as one]:n:' \
    '--compare=[beside it the window before, or the same a year before]::value:(previous year)' \
    '--waste[energy that no result came of, by rule]' \
    '--idle[idle and system beside the jobs, PUE, shares (operators)]' \
    '--advice[what would save energy, from your own jobs]' \
    '-o[fields, each with %WIDTH if need be (negative\: left-aligned), or ALL]:list:_values -s , list JobID JobIDRaw JobName User Account Partition QOS Cluster State ExitCode Restarts Submit Start End Elapsed ElapsedRaw NNodes NCPUS AllocTRES NodeList Energy EnergyRaw CPUEnergyRaw DRAMEnergyRaw GPUEnergyRaw OtherEnergyRaw StaticEnergyRaw EstimatedEnergyRaw AvePower FacilityEnergyRaw PUE Carbon CarbonRaw CarbonMarketRaw EmbodiedRaw Intensity IntensitySource Zone Coverage Quality UpstreamRaw TDRaw SCI UID Group GID DerivedExitCode Reason Comment WorkDir Eligible Suspended Timelimit TimelimitRaw AllocNodes ReqNodes AllocCPUS ReqCPUS CPUTime CPUTimeRAW TotalCPU CPUEff ReqTRES GPUIdleEnergyRaw CPUUnusedEnergyRaw QualityNotes' \
    '--format=[fields, each with %WIDTH if need be (negative\: left-aligned), or ALL]:list:_values -s , list JobID JobIDRaw JobName User Account Partition QOS Cluster State ExitCode Restarts Submit Start End Elapsed ElapsedRaw NNodes NCPUS AllocTRES NodeList Energy EnergyRaw CPUEnergyRaw DRAMEnergyRaw GPUEnergyRaw OtherEnergyRaw StaticEnergyRaw EstimatedEnergyRaw AvePower FacilityEnergyRaw PUE Carbon CarbonRaw CarbonMarketRaw EmbodiedRaw Intensity IntensitySource Zone Coverage Quality UpstreamRaw TDRaw SCI UID Group GID DerivedExitCode Reason Comment WorkDir Eligible Suspended Timelimit TimelimitRaw AllocNodes ReqNodes AllocCPUS ReqCPUS CPUTime CPUTimeRAW TotalCPU CPUEff ReqTRES GPUIdleEnergyRaw CPUUnusedEnergyRaw QualityNotes' \
    '--fields=[fields, each with %WIDTH if need be (negative\: left-aligned), or ALL]:list:_values -s , list JobID JobIDRaw JobName User Account Partition QOS Cluster State ExitCode Restarts Submit Start End Elapsed ElapsedRaw NNodes NCPUS AllocTRES NodeList Energy EnergyRaw CPUEnergyRaw DRAMEnergyRaw GPUEnergyRaw OtherEnergyRaw StaticEnergyRaw EstimatedEnergyRaw AvePower FacilityEnergyRaw PUE Carbon CarbonRaw CarbonMarketRaw EmbodiedRaw Intensity IntensitySource Zone Coverage Quality UpstreamRaw TDRaw SCI UID Group GID DerivedExitCode Reason Comment WorkDir Eligible Suspended Timelimit TimelimitRaw AllocNodes ReqNodes AllocCPUS ReqCPUS CPUTime CPUTimeRAW TotalCPU CPUEff ReqTRES GPUIdleEnergyRaw CPUUnusedEnergyRaw QualityNotes' \
    '-b[JobID, State and ExitCode]' \
    '--brief[JobID, State and ExitCode]' \
    '-l[every field of energy and carbon]' \
    '--long[every field of energy and carbon]' \
    '-n[print no header]' \
    '--noheader[print no header]' \
    '-p[print `|` after every value]' \
    '--parsable[print `|` after every value]' \
    '-P[print `|` between the values]' \
    '--parsable2[print `|` between the values]' \
    '--delimiter=[the delimiter, instead of `|`]:text:' \
    '--units=[units of Energy and Carbon\: K, M, kWh, MJ, `Wh,g` ...]:unit:(K M G T P Wh kWh MWh kJ MJ g kg t)' \
    '--noconvert[memory in MiB, as Slurm keeps it]' \
    '--use-local-uid[UID as this host knows the user]' \
    '--json[print everything as JSON, in the units of the HTTP API]' \
    '--csv[print comma-separated values for a spreadsheet]' \
    '-e[list the fields]' \
    '--helpformat[list the fields]' \
    '-v[say which window was asked for]' \
    '--verbose[say which window was asked for]' \
    '--web[print a link that signs you in to carbon-web, once, within a minute]' \
    '--usage[print one line of usage]' \
    '--debug[show where an error comes from]' \
    '-V[show programs version number and exit]' \
    '--version[show programs version number and exit]' \
    '1::command:(show)'
