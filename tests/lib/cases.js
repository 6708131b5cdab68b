// Runs the cases of a Node client's driver: one JSON line each, as tests/storage-clients/README.md says.
'use strict';
const fs = require('fs');
const path = require('path');

// of('@google-cloud/storage', 'rest') -> what the driver of that client needs.
exports.of = (client, transport) => {
  const modules = path.join(process.env.CUSP_CLIENT_ENV, 'node_modules');
  const {version} = JSON.parse(fs.readFileSync(path.join(modules, client, 'package.json')));
  return async cases => {
    let failed = 0;
    for (const [name, fn] of Object.entries(cases)) {
      const t0 = Date.now();
      let detail = '';
      try {
        await fn();
      } catch (e) {
        failed++;
        detail = String(e && e.message || e).slice(0, 500);
      }
      console.log(JSON.stringify({client: 'node', version, transport, case: name, ok: !detail, ms: Date.now() - t0, detail}));
    }
    return failed ? 1 : 0;
  };
};

exports.check = (ok, what) => {
  if (!ok) throw new Error(typeof what === 'string' ? what : JSON.stringify(what));
};

exports.refused = async (promise, code) => {
  try {
    await promise;
  } catch (e) {
    exports.check(e.code === code, `want ${code}, got ${e.code}: ${e.message}`);
    return;
  }
  throw new Error(`want ${code}, got no error`);
};
