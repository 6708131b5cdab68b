-- A database as schema version 1 left it: one job with two labels and two events, one fact. Never edited.
PRAGMA application_id = 1668641648;
PRAGMA user_version = 1;
BEGIN;
CREATE TABLE resource (  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,  parent TEXT NOT NULL, display_name TEXT NOT NULL, state TEXT NOT NULL,  create_time INTEGER NOT NULL, update_time INTEGER NOT NULL, is_live INTEGER NOT NULL,  status BLOB NOT NULL, spec BLOB NOT NULL);
CREATE INDEX resource_list ON resource(kind, parent, create_time, id);
CREATE INDEX resource_state ON resource(kind, parent, state, create_time, id);
CREATE INDEX resource_live ON resource(kind, id) WHERE is_live = 1;
CREATE TABLE label (  resource INTEGER NOT NULL, place INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,  PRIMARY KEY (resource, place)) WITHOUT ROWID;
CREATE INDEX label_value ON label(key, value, resource);
CREATE TABLE event (  resource INTEGER NOT NULL, seq INTEGER NOT NULL, type INTEGER NOT NULL,  version INTEGER NOT NULL, time INTEGER NOT NULL, body BLOB NOT NULL,  PRIMARY KEY (resource, seq)) WITHOUT ROWID;
CREATE TABLE kv (  space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,  PRIMARY KEY (space, key)) WITHOUT ROWID;
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('token_key', x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
INSERT INTO resource VALUES (1, 'projects/1/locations/us-central1/customJobs/7', 'customJob', 'projects/1/locations/us-central1', 'job 7', 'JOB_STATE_QUEUED', 7, 7, 1, x'637573702d72656320310a', x'73706563006279746573');
INSERT INTO label VALUES (1, 0, 'team', 'red'), (1, 1, 'a key', '');
INSERT INTO event VALUES (1, 1, 7, 2, 1001, x'6f6e65'), (1, 2, 7, 2, 1002, x'');
INSERT INTO kv VALUES ('object', x'622f78', x'76');
COMMIT;
