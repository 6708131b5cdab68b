// Performs the ten cases of ../README.md over one transport and prints a JSON line for each.
'use strict';
const {randomBytes} = require('node:crypto');
const {Cases} = require('./cases.js');
const {connect} = require('./connection.js');

const CASES = ['create', 'get', 'list_paging', 'filter', 'cancel', 'delete', 'wait_real_job', 'failed_job',
  'error_mapping', 'operations'];
const warnings = [];
process.removeAllListeners('warning');
process.on('warning', w => {
  // The package's remark on pageSize with automatic paging, which list_paging means; nothing of the server's.
  if (w.name !== 'AutopaginateTrueWarning') warnings.push(`${w.name}: ${w.message}`);
});

async function main(transport) {
  const [protocol, face] = transport.split('+');
  const {client, version} = connect(protocol, face || 'v6');
  const cases = new Cases(client, protocol, randomBytes(4).toString('hex'));
  let failed = 0;
  for (const name of CASES) {
    const t0 = performance.now();
    let ok = true, detail = '';
    try {
      detail = await cases[name]() || '';
      if (warnings.length) throw new Error(`the client warned: ${warnings.splice(0).join('; ')}`);
    } catch (e) {
      console.error(e);
      ok = false;
      detail = String(e).slice(0, 500);
    }
    failed += !ok;
    console.log(JSON.stringify({client: 'node', version, transport, case: name, ok,
      ms: Math.round(performance.now() - t0), detail}));
  }
  await cases.cleanUp();
  await client.close();
  process.exitCode = failed ? 1 : 0;
}

main(process.argv[2]);
