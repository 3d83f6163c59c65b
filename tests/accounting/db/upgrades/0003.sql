BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE association (
	id INTEGER NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	cluster_id INTEGER NOT NULL, 
	uid BIGINT, 
	user VARCHAR(255), 
	account VARCHAR(255), 
	partition VARCHAR(255), 
	qos VARCHAR(255), 
	PRIMARY KEY (id), 
	UNIQUE ("key"), 
	FOREIGN KEY(cluster_id) REFERENCES cluster (id)
);
INSERT INTO "association" VALUES(1,'3273a935f4646c28dad895797e906c1823da0e59faa3b189f246b919d6ec467b',1,1000,'alice','physics','p','normal');
INSERT INTO "association" VALUES(2,'2bc74adf8a9469d412adff8a8afbeff71ec1b3842b0e8159405e97bc6041d847',1,1001,'bob','chemistry','p','normal');
CREATE TABLE cluster (
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	polled_until BIGINT, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "cluster" VALUES(1,'demo',NULL);
CREATE TABLE day_sum (
	association_id INTEGER NOT NULL, 
	day BIGINT NOT NULL, 
	jobs BIGINT NOT NULL, 
	simulated_jobs BIGINT NOT NULL, 
	cpu_us BIGINT NOT NULL, 
	cpu_us_jobs BIGINT NOT NULL, 
	energy_uj BIGINT NOT NULL, 
	energy_uj_jobs BIGINT NOT NULL, 
	estimated_uj BIGINT NOT NULL, 
	estimated_uj_jobs BIGINT NOT NULL, 
	cpu_uj BIGINT NOT NULL, 
	cpu_uj_jobs BIGINT NOT NULL, 
	dram_uj BIGINT NOT NULL, 
	dram_uj_jobs BIGINT NOT NULL, 
	gpu_uj BIGINT NOT NULL, 
	gpu_uj_jobs BIGINT NOT NULL, 
	other_uj BIGINT NOT NULL, 
	other_uj_jobs BIGINT NOT NULL, 
	facility_uj BIGINT NOT NULL, 
	facility_uj_jobs BIGINT NOT NULL, 
	carbon_ug BIGINT NOT NULL, 
	carbon_ug_jobs BIGINT NOT NULL, 
	market_ug BIGINT NOT NULL, 
	market_ug_jobs BIGINT NOT NULL, 
	embodied_ug BIGINT NOT NULL, 
	embodied_ug_jobs BIGINT NOT NULL, 
	upstream_ug BIGINT NOT NULL, 
	upstream_ug_jobs BIGINT NOT NULL, 
	td_ug BIGINT NOT NULL, 
	td_ug_jobs BIGINT NOT NULL, 
	PRIMARY KEY (association_id, day), 
	FOREIGN KEY(association_id) REFERENCES association (id)
);
INSERT INTO "day_sum" VALUES(1,1350000000,1,0,5,1,1100,1,0,0,1000,1,100,1,0,0,0,0,1430,1,0,1,0,1,0,0,0,0,0,0);
INSERT INTO "day_sum" VALUES(2,1350000000,1,0,10,1,8077000000,1,0,0,8000000000,1,0,0,77000000,1,0,0,10500100000,1,1003751,1,437504,1,0,0,0,0,0,0);
CREATE TABLE dropped (
	node_id INTEGER NOT NULL, 
	stream VARCHAR(8) NOT NULL, 
	revision BIGINT NOT NULL, 
	records BIGINT NOT NULL, 
	start BIGINT NOT NULL, 
	"end" BIGINT NOT NULL, 
	cpu_uj BIGINT, 
	dram_uj BIGINT, 
	gpu_uj BIGINT, 
	other_uj BIGINT, 
	PRIMARY KEY (node_id, stream), 
	FOREIGN KEY(node_id) REFERENCES node (id)
);
CREATE TABLE factor_source (
	id INTEGER NOT NULL, 
	zone VARCHAR(64) NOT NULL, 
	provider VARCHAR(32) NOT NULL, 
	text VARCHAR(255) NOT NULL, 
	scope VARCHAR(16) NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (zone, provider, scope, purpose, text)
);
INSERT INTO "factor_source" VALUES(1,'DE','yearly','Ember 2024 via Our World in Data, yearly average, lifecycle','lifecycle','location');
INSERT INTO "factor_source" VALUES(2,'DE','contract','contract','direct','market');
CREATE TABLE intensity (
	id INTEGER NOT NULL, 
	source_id INTEGER NOT NULL, 
	period_start BIGINT NOT NULL, 
	period_end BIGINT, 
	g_per_kwh VARCHAR(64) NOT NULL, 
	estimated BOOLEAN NOT NULL, 
	fetched_at BIGINT NOT NULL, 
	updated_at BIGINT, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (source_id, period_start, revision), 
	FOREIGN KEY(source_id) REFERENCES factor_source (id)
);
INSERT INTO "intensity" VALUES(1,1,0,NULL,'344.14',0,1795966486,NULL,1);
CREATE TABLE job (
	id INTEGER NOT NULL, 
	cluster_id INTEGER NOT NULL, 
	job_id_raw BIGINT NOT NULL, 
	job_id VARCHAR(255) NOT NULL, 
	leader_id BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	user VARCHAR(255), 
	uid BIGINT, 
	account VARCHAR(255), 
	partition VARCHAR(255), 
	qos VARCHAR(255), 
	state VARCHAR(255) NOT NULL, 
	exit_code VARCHAR(255), 
	restarts BIGINT, 
	sluid VARCHAR(255), 
	submit BIGINT NOT NULL, 
	eligible BIGINT, 
	start BIGINT, 
	"end" BIGINT, 
	elapsed_s BIGINT, 
	nnodes BIGINT, 
	ncpus BIGINT, 
	alloc_tres TEXT, 
	nodelist TEXT, 
	unmetered_us BIGINT NOT NULL, 
	unmetered_nodes BIGINT NOT NULL, 
	association_id BIGINT, 
	PRIMARY KEY (id), 
	UNIQUE (cluster_id, job_id_raw, submit), 
	FOREIGN KEY(cluster_id) REFERENCES cluster (id)
);
INSERT INTO "job" VALUES(1,1,7,'7',7,'job','alice',1000,'physics','p','normal','COMPLETED','0:0',NULL,NULL,1350000000,1350000000,1350000010,1350000070,60,1,2,'cpu=2','n1',0,0,1);
INSERT INTO "job" VALUES(2,1,8,'8',8,'job','bob',1001,'chemistry','p','normal','COMPLETED','0:0',NULL,NULL,1350000090,1350000000,1350000100,1350001700,1600,1,2,'cpu=2','n1',0,0,2);
CREATE TABLE job_day (
	job_id INTEGER NOT NULL, 
	day BIGINT NOT NULL, 
	sources VARCHAR(64) NOT NULL, 
	g_per_kwh_weight DOUBLE NOT NULL, 
	pue_weight DOUBLE NOT NULL, 
	cpu_us BIGINT, 
	cpu_alloc_us BIGINT, 
	dram_alloc_us BIGINT, 
	gpu_alloc_us BIGINT, 
	other_alloc_us BIGINT, 
	energy_uj BIGINT, 
	estimated_uj BIGINT, 
	facility_uj BIGINT, 
	carbon_ug BIGINT, 
	market_ug BIGINT, 
	embodied_ug BIGINT, 
	upstream_ug BIGINT, 
	td_ug BIGINT, 
	simulated BOOLEAN NOT NULL, 
	notes TEXT, 
	cpu_uj BIGINT, 
	cpu_static_uj BIGINT, 
	cpu_metered_us BIGINT, 
	cpu_method VARCHAR(16), 
	dram_uj BIGINT, 
	dram_static_uj BIGINT, 
	dram_metered_us BIGINT, 
	dram_method VARCHAR(16), 
	gpu_uj BIGINT, 
	gpu_static_uj BIGINT, 
	gpu_metered_us BIGINT, 
	gpu_method VARCHAR(16), 
	other_uj BIGINT, 
	other_static_uj BIGINT, 
	other_metered_us BIGINT, 
	other_method VARCHAR(16), 
	PRIMARY KEY (job_id, day), 
	FOREIGN KEY(job_id) REFERENCES job (id)
);
INSERT INTO "job_day" VALUES(1,1350000000,'1',378554.0,1430.0,5,60000000,60000000,NULL,NULL,1100,NULL,1430,0,0,NULL,NULL,NULL,0,NULL,1000,250,60000000,'counter',100,25,60000000,'counter',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "job_day" VALUES(2,1350000000,'1',2779618780000.0,10500100000.0,10,1600000000,NULL,1600000000,NULL,8077000000,NULL,10500100000,1003751,437504,NULL,NULL,NULL,0,'["gpu: none"]',8000000000,1999999999,1600000000,'counter',NULL,NULL,NULL,NULL,77000000,19250000,300000000,'missing',NULL,NULL,NULL,NULL);
CREATE TABLE job_slot (
	job_id INTEGER NOT NULL, 
	slot BIGINT NOT NULL, 
	price_id INTEGER NOT NULL, 
	cpu_us BIGINT, 
	cpu_alloc_us BIGINT, 
	dram_alloc_us BIGINT, 
	gpu_alloc_us BIGINT, 
	other_alloc_us BIGINT, 
	energy_uj BIGINT, 
	estimated_uj BIGINT, 
	facility_uj BIGINT, 
	carbon_ug BIGINT, 
	market_ug BIGINT, 
	embodied_ug BIGINT, 
	upstream_ug BIGINT, 
	td_ug BIGINT, 
	simulated BOOLEAN NOT NULL, 
	notes TEXT, 
	cpu_uj BIGINT, 
	cpu_static_uj BIGINT, 
	cpu_metered_us BIGINT, 
	cpu_method VARCHAR(16), 
	dram_uj BIGINT, 
	dram_static_uj BIGINT, 
	dram_metered_us BIGINT, 
	dram_method VARCHAR(16), 
	gpu_uj BIGINT, 
	gpu_static_uj BIGINT, 
	gpu_metered_us BIGINT, 
	gpu_method VARCHAR(16), 
	other_uj BIGINT, 
	other_static_uj BIGINT, 
	other_metered_us BIGINT, 
	other_method VARCHAR(16), 
	PRIMARY KEY (job_id, slot), 
	FOREIGN KEY(job_id) REFERENCES job (id), 
	FOREIGN KEY(price_id) REFERENCES slot_price (id)
);
INSERT INTO "job_slot" VALUES(1,1350000000,1,5,60000000,60000000,NULL,NULL,1100,NULL,1430,0,0,NULL,NULL,NULL,0,NULL,1000,250,60000000,'counter',100,25,60000000,'counter',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "job_slot" VALUES(2,1350000000,1,5,800000000,NULL,800000000,NULL,4000000123,NULL,5200000160,497091,216667,NULL,NULL,NULL,0,'["gpu: none"]',4000000123,1000000030,800000000,'counter',NULL,NULL,NULL,NULL,NULL,NULL,0,'missing',NULL,NULL,NULL,NULL);
INSERT INTO "job_slot" VALUES(2,1350000900,2,5,800000000,NULL,800000000,NULL,4076999877,NULL,5300099840,506660,220837,NULL,NULL,NULL,0,NULL,3999999877,999999969,800000000,'counter',NULL,NULL,NULL,NULL,77000000,19250000,300000000,'integrated',NULL,NULL,NULL,NULL);
CREATE TABLE ledger (
	id INTEGER NOT NULL, 
	cluster_id INTEGER NOT NULL, 
	node_id INTEGER NOT NULL, 
	stream VARCHAR(8) NOT NULL, 
	job_id BIGINT NOT NULL, 
	run VARCHAR(64) NOT NULL, 
	revision BIGINT NOT NULL, 
	opened BIGINT NOT NULL, 
	closed BIGINT, 
	uid BIGINT, 
	user VARCHAR(255), 
	account VARCHAR(255), 
	partition VARCHAR(255), 
	restart_count BIGINT, 
	het_job_id BIGINT, 
	cpus BIGINT, 
	node_cpus BIGINT, 
	gpus TEXT, 
	source VARCHAR(16), 
	matched_id INTEGER, 
	PRIMARY KEY (id), 
	UNIQUE (node_id, stream, job_id, run), 
	FOREIGN KEY(cluster_id) REFERENCES cluster (id), 
	FOREIGN KEY(node_id) REFERENCES node (id), 
	FOREIGN KEY(matched_id) REFERENCES job (id)
);
INSERT INTO "ledger" VALUES(1,1,1,'00c0ffee',7,'restart:0',1,1350000010,1350000070,1000,'alice','physics','p',0,NULL,2,4,'[]','prolog',1);
INSERT INTO "ledger" VALUES(2,1,1,'00c0ffee',8,'restart:0',1,1350000100,1350001700,1001,'bob','chemistry','p',0,NULL,2,4,'[]','prolog',2);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value VARCHAR(255) NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('derived','1');
INSERT INTO "meta" VALUES('timezone','UTC');
CREATE TABLE node (
	id INTEGER NOT NULL, 
	cluster_id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (cluster_id, name), 
	FOREIGN KEY(cluster_id) REFERENCES cluster (id)
);
INSERT INTO "node" VALUES(1,1,'n1');
CREATE TABLE node_job_slot (
	ledger_id INTEGER NOT NULL, 
	slot BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	alloc_us BIGINT NOT NULL, 
	cpu_us BIGINT, 
	simulated BOOLEAN NOT NULL, 
	cpu_reason TEXT, 
	dram_reason TEXT, 
	gpu_reason TEXT, 
	other_reason TEXT, 
	cpu_uj BIGINT, 
	cpu_static_uj BIGINT, 
	cpu_metered_us BIGINT, 
	cpu_method VARCHAR(16), 
	dram_uj BIGINT, 
	dram_static_uj BIGINT, 
	dram_metered_us BIGINT, 
	dram_method VARCHAR(16), 
	gpu_uj BIGINT, 
	gpu_static_uj BIGINT, 
	gpu_metered_us BIGINT, 
	gpu_method VARCHAR(16), 
	other_uj BIGINT, 
	other_static_uj BIGINT, 
	other_metered_us BIGINT, 
	other_method VARCHAR(16), 
	PRIMARY KEY (ledger_id, slot), 
	FOREIGN KEY(ledger_id) REFERENCES ledger (id)
);
INSERT INTO "node_job_slot" VALUES(1,1350000000,1,60000000,5,0,NULL,NULL,NULL,NULL,1000,250,60000000,'counter',100,25,60000000,'counter',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "node_job_slot" VALUES(2,1350000000,1,800000000,5,0,NULL,NULL,'none',NULL,4000000123,1000000030,800000000,'counter',NULL,NULL,NULL,NULL,NULL,NULL,0,'missing',NULL,NULL,NULL,NULL);
INSERT INTO "node_job_slot" VALUES(2,1350000900,1,800000000,5,0,NULL,NULL,NULL,NULL,3999999877,999999969,800000000,'counter',NULL,NULL,NULL,NULL,77000000,19250000,300000000,'integrated',NULL,NULL,NULL,NULL);
CREATE TABLE node_slot (
	node_id INTEGER NOT NULL, 
	stream VARCHAR(8) NOT NULL, 
	slot BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	elapsed_us BIGINT NOT NULL, 
	simulated BOOLEAN NOT NULL, 
	cpu_uj BIGINT, 
	cpu_idle_uj BIGINT, 
	cpu_system_uj BIGINT, 
	cpu_metered_us BIGINT, 
	cpu_method VARCHAR(16), 
	cpu_reason TEXT, 
	dram_uj BIGINT, 
	dram_idle_uj BIGINT, 
	dram_system_uj BIGINT, 
	dram_metered_us BIGINT, 
	dram_method VARCHAR(16), 
	dram_reason TEXT, 
	gpu_uj BIGINT, 
	gpu_idle_uj BIGINT, 
	gpu_system_uj BIGINT, 
	gpu_metered_us BIGINT, 
	gpu_method VARCHAR(16), 
	gpu_reason TEXT, 
	other_uj BIGINT, 
	other_idle_uj BIGINT, 
	other_system_uj BIGINT, 
	other_metered_us BIGINT, 
	other_method VARCHAR(16), 
	other_reason TEXT, 
	PRIMARY KEY (node_id, stream, slot), 
	FOREIGN KEY(node_id) REFERENCES node (id)
);
INSERT INTO "node_slot" VALUES(1,'00c0ffee',1350000000,1,900000000,0,4200000000,100000000,99998877,900000000,'counter',NULL,150,50,0,900000000,'counter',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "node_slot" VALUES(1,'00c0ffee',1350000900,1,900000000,0,4000000000,123,0,900000000,'counter',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE segment (
	name VARCHAR(255) NOT NULL, 
	node_id INTEGER NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	received BIGINT NOT NULL, 
	accepted BIGINT NOT NULL, 
	refused TEXT NOT NULL, 
	PRIMARY KEY (name), 
	FOREIGN KEY(node_id) REFERENCES node (id)
);
INSERT INTO "segment" VALUES('n1.b0-07.00c0ffee.00000001.jsonl',1,'54bbea17bea58d8e5374008571dfa5a81fedeb4d7390e716f0bbf5290d29ea0c',1350100000,7,'[]');
CREATE TABLE site_slot (
	cluster_id INTEGER NOT NULL, 
	slot BIGINT NOT NULL, 
	elapsed_us BIGINT NOT NULL, 
	simulated_nodes BIGINT NOT NULL, 
	cpu_uj BIGINT NOT NULL, 
	cpu_jobs_uj BIGINT NOT NULL, 
	cpu_idle_uj BIGINT NOT NULL, 
	cpu_system_uj BIGINT NOT NULL, 
	cpu_nodes BIGINT NOT NULL, 
	dram_uj BIGINT NOT NULL, 
	dram_jobs_uj BIGINT NOT NULL, 
	dram_idle_uj BIGINT NOT NULL, 
	dram_system_uj BIGINT NOT NULL, 
	dram_nodes BIGINT NOT NULL, 
	gpu_uj BIGINT NOT NULL, 
	gpu_jobs_uj BIGINT NOT NULL, 
	gpu_idle_uj BIGINT NOT NULL, 
	gpu_system_uj BIGINT NOT NULL, 
	gpu_nodes BIGINT NOT NULL, 
	other_uj BIGINT NOT NULL, 
	other_jobs_uj BIGINT NOT NULL, 
	other_idle_uj BIGINT NOT NULL, 
	other_system_uj BIGINT NOT NULL, 
	other_nodes BIGINT NOT NULL, 
	PRIMARY KEY (cluster_id, slot), 
	FOREIGN KEY(cluster_id) REFERENCES cluster (id)
);
INSERT INTO "site_slot" VALUES(1,1350000000,900000000,0,4200000000,4000001123,100000000,99998877,1,150,100,50,0,1,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "site_slot" VALUES(1,1350000900,900000000,0,4000000000,3999999877,123,0,1,0,0,0,0,0,0,77000000,0,0,0,0,0,0,0,0);
CREATE TABLE slot_price (
	id INTEGER NOT NULL, 
	zone VARCHAR(64) NOT NULL, 
	slot BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	pue VARCHAR(64) NOT NULL, 
	pue_float DOUBLE NOT NULL, 
	g_per_kwh VARCHAR(64) NOT NULL, 
	g_per_kwh_float DOUBLE NOT NULL, 
	source_id INTEGER NOT NULL, 
	estimated BOOLEAN NOT NULL, 
	market_g_per_kwh VARCHAR(64), 
	market_source_id INTEGER, 
	upstream_g_per_kwh VARCHAR(64), 
	td_g_per_kwh VARCHAR(64), 
	computed_at BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (zone, slot, revision), 
	FOREIGN KEY(source_id) REFERENCES factor_source (id), 
	FOREIGN KEY(market_source_id) REFERENCES factor_source (id)
);
INSERT INTO "slot_price" VALUES(1,'DE',1350000000,1,'1.3',1.3,'344.14',344.14,1,0,'150',2,NULL,NULL,1795966486);
INSERT INTO "slot_price" VALUES(2,'DE',1350000900,1,'1.3',1.3,'344.14',344.14,1,0,'150',2,NULL,NULL,1795966486);
CREATE INDEX association_account ON association (account);
CREATE INDEX association_user ON association (user);
CREATE INDEX job_association_end ON job (association_id, "end");
CREATE INDEX job_leader ON job (cluster_id, leader_id);
CREATE INDEX job_end ON job ("end");
CREATE INDEX slot_price_slot ON slot_price (slot);
CREATE INDEX site_slot_slot ON site_slot (slot);
CREATE INDEX ledger_job_id ON ledger (cluster_id, job_id);
CREATE INDEX ledger_matched ON ledger (matched_id);
CREATE INDEX node_slot_slot ON node_slot (slot);
CREATE INDEX job_slot_price ON job_slot (price_id);
CREATE INDEX job_slot_slot ON job_slot (slot);
CREATE INDEX job_day_day ON job_day (day);
CREATE INDEX day_sum_day ON day_sum (day);
CREATE INDEX node_job_slot_slot ON node_job_slot (slot);
COMMIT;
