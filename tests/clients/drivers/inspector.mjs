// Drives the command line of @modelcontextprotocol/inspector, one process for each operation:
// node inspector.mjs URL ERA

import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import { introduce, operation, skip, tell } from './_node.mjs';

const [url, era] = process.argv.slice(2);
const launcher = fileURLToPath(
  new URL('node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js', import.meta.url),
);
const where = ['--cli', '--server-url', url, '--transport', 'http', '--format', 'json'];
where.push('--protocol-era', era === 'handshake' ? 'legacy' : 'auto');

/** Run the command line once; return what it printed as its result, or as its error. */
async function inspect(...options) {
  const child = spawn(process.execPath, [launcher, ...where, ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, error] = [[], []];
  child.stdout.on('data', (data) => out.push(data));
  child.stderr.on('data', (data) => error.push(data));
  const code = await new Promise((resolve) => child.on('close', resolve));
  const printed = Buffer.concat(code ? error : out).toString();
  // Warnings may come before it.
  const line = printed.trim().split('\n').findLast((each) => each.startsWith('{'));
  assert.ok(line, printed);
  return { code, ...JSON.parse(line) };
}

async function call(name, values = {}) {
  const { code, result, error } = await inspect(
    '--method', 'tools/call', '--tool-name', name, '--tool-args-json', JSON.stringify(values),
  );
  assert.equal(code, 0, error?.message);
  return result.structuredContent.result;
}

introduce('@modelcontextprotocol/inspector');
await operation('open', async () => {
  const { result } = await inspect('--method', 'initialize');
  tell({ protocol: result.protocolVersion });
  assert.equal(result.protocolVersion, era === 'handshake' ? '2025-11-25' : '2026-07-28');
});
await operation('list', async () => {
  const { result } = await inspect('--method', 'tools/list');
  assert.ok(result.tools.some(({ name }) => name === 'add'));
});
await operation('call', async () => assert.equal(await call('add', { a: 1, b: 2 }), 3));
await operation('parallel', async () => {
  const load = ['--load', '--load-requests', '20', '--load-concurrency', '20'];
  const { result } = await inspect(
    '--method', 'tools/call', '--tool-name', 'add', '--tool-args-json', '{"a":1,"b":2}', ...load,
  );
  assert.equal(result.ok, 20, JSON.stringify(result));
});
skip('progress', 'its command line shows no progress');
await operation('error', async () => {
  const { code, error } = await inspect('--method', 'tools/call', '--tool-name', 'refuse');
  assert.notEqual(code, 0);
  assert.equal(error.message, 'refused on purpose');
});
for (const name of ['elicitation', 'sampling']) skip(name, `its command line does not offer ${name}`);
await operation('roots', async () => assert.equal(await call('roots'), ''));
skip('logging', 'its command line shows no log messages');
skip('cancel', 'its command line cancels nothing');
skip('listening', 'its command line does not wait for notifications');
if (era === 'handshake') {
  await operation('asking aside', async () => assert.equal(await call('roots_aside'), ''));
  await operation('resuming a call', async () => {
    const marker = `cut-${randomBytes(4).toString('hex')}`;
    assert.equal(await call('count', { steps: 5, marker }), 'counted to 5');
  });
  skip('resuming to listen', 'its command line does not wait for notifications');
  skip('terminate', 'its command line ends without a DELETE');
} else {
  skip('unlistening', 'its command line does not wait for notifications');
}
skip('shutdown', 'its command line does not tell when a call has begun');
