// What the drivers of Node.js clients share: the operations, and how they are reported.

import { strict as assert } from 'node:assert';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

const TIMEOUT = 30_000; // milliseconds that one operation may take
const STEPS = [1, 2, 3, 4, 5].map((step) => ({ progress: step, total: 5, message: `step ${step}` }));
export const ROOT = 'file:///home/ada';

/** Print one line for the harness. */
export function tell(facts) {
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}

/** Say what is being driven, and what it runs on. */
export function introduce(name) {
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url)));
  tell({ about: `${name} ${version}`, runtime: `Node.js ${process.versions.node}` });
}

/** Report whether something succeeds, in time. The next operation follows in any case. */
export async function operation(name, body) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${TIMEOUT} ms`)), TIMEOUT);
  });
  try {
    await Promise.race([body(), late]);
    tell({ op: name, status: 'pass' });
  } catch (error) {
    tell({ op: name, status: 'fail', detail: `${error?.name}: ${error?.message}` });
  } finally {
    clearTimeout(timer);
  }
}

/** Report that the client cannot do this. */
export function skip(name, why) {
  tell({ op: name, status: 'n.a.', detail: why });
}

/** What the handlers of a client were called with. */
export class Heard {
  logs = [];
  changes = 0;

  async until(condition) {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Answer what the server asks for. */
export const answers = {
  elicitation: (params) => {
    assert.equal(params.message, 'Who are you?');
    return { action: 'accept', content: { name: 'Ada' } };
  },
  sampling: (params) => {
    assert.equal(params.maxTokens, 100);
    return { role: 'assistant', model: 'atlas', content: { type: 'text', text: 'Paris' } };
  },
  roots: () => ({ roots: [{ uri: ROOT }] }),
};

export const capabilities = { elicitation: { form: {} }, sampling: {}, roots: { listChanged: true } };

/** Return what a tool has returned. */
function content(result) {
  assert.ok(!result.isError, JSON.stringify(result));
  return result.structuredContent.result;
}

async function fails(promise, check) {
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  assert.ok(error, 'the call has succeeded');
  check(error);
}

/**
 * Do everything.
 *
 * connect(heard) connects a client and returns it; it has protocol, tools(), call(name, arguments, options),
 * terminate(), close() and, for subscriptions, listen().
 */
export async function drive(era, connect) {
  await (era === 'handshake' ? handshake(connect) : modern(connect));
  process.exit(0);
}

async function handshake(connect) {
  const heard = new Heard();
  const peer = await connect(heard);
  await common('2025-11-25', peer, heard);
  await operation('listening', async () => {
    assert.equal(content(await peer.call('change_tools')), 'changed');
    await heard.until(() => heard.changes);
  });
  await operation('asking aside', async () => {
    assert.equal(content(await peer.call('roots_aside')), ROOT);
  });
  await operation('resuming a call', async () => {
    const steps = [];
    const marker = `cut-${randomBytes(4).toString('hex')}`;
    const result = await peer.call('count', { steps: 5, marker }, { onprogress: (step) => steps.push(step) });
    assert.equal(content(result), 'counted to 5');
    assert.deepEqual(steps, STEPS.with(2, { ...STEPS[2], message: marker }));
  });
  await operation('resuming to listen', async () => {
    const text = `cut-${randomBytes(4).toString('hex')}`;
    await peer.call('announce', { text });
    await heard.until(() => heard.logs.includes(text));
    heard.changes = 0;
    await peer.call('change_tools');
    await heard.until(() => heard.changes);
    assert.deepEqual([heard.logs.filter((each) => each === text).length, heard.changes], [1, 1]);
  });
  await peer.terminate();
  await peer.close();
  tell({ closed: 'session' });
  await operation('shutdown', async () => {
    const other = await connect(new Heard());
    const call = other.call('wait', { token: 'shutdown' }, { onprogress: () => tell({ ready: 'shutdown' }) });
    await fails(call, (error) => assert.match(error.message, /shutdown/));
    await other.close();
  });
}

async function modern(connect) {
  const heard = new Heard();
  const peer = await connect(heard);
  await common('2026-07-28', peer, heard);
  await operation('listening', async () => {
    const subscription = await peer.listen();
    assert.equal(subscription.honoredFilter.toolsListChanged, true);
    await peer.call('change_tools');
    await heard.until(() => heard.changes);
    await subscription.close();
    assert.equal(await subscription.closed, 'local');
  });
  await operation('unlistening', async () => {
    assert.equal(content(await peer.call('listeners')), 0);
  });
  await operation('shutdown', async () => {
    const subscription = await peer.listen();
    tell({ ready: 'shutdown' });
    assert.equal(await subscription.closed, 'graceful');
    await peer.close();
  });
}

async function common(protocol, peer, heard) {
  await operation('open', async () => {
    tell({ protocol: peer.protocol });
    assert.equal(peer.protocol, protocol);
  });
  await operation('list', async () => {
    const tools = await peer.tools();
    assert.ok(['add', 'count', 'greet'].every((name) => tools.includes(name)), tools.join());
  });
  await operation('call', async () => {
    assert.equal(content(await peer.call('add', { a: 1, b: 2 })), 3);
  });
  await operation('parallel', async () => {
    const numbers = [...Array(20).keys()];
    const sums = await Promise.all(numbers.map(async (a) => content(await peer.call('add', { a, b: 1 }))));
    assert.deepEqual(sums, numbers.map((a) => a + 1));
  });
  await operation('progress', async () => {
    const steps = [];
    const result = await peer.call('count', { steps: 5 }, { onprogress: (step) => steps.push(step) });
    assert.equal(content(result), 'counted to 5');
    assert.deepEqual(steps, STEPS);
  });
  await operation('error', async () => {
    await fails(peer.call('refuse', {}, { onprogress: () => {} }), (error) => {
      assert.equal(error.code, -32042);
      assert.match(error.message, /refused on purpose$/);
    });
  });
  await operation('elicitation', async () => {
    assert.equal(content(await peer.call('greet')), 'Hello Ada');
  });
  await operation('sampling', async () => {
    assert.equal(content(await peer.call('capital')), 'atlas says Paris');
  });
  await operation('roots', async () => {
    assert.equal(content(await peer.call('roots')), ROOT);
  });
  await operation('logging', async () => {
    assert.equal(content(await peer.call('say', { text: 'hello' })), 'said');
    await heard.until(() => heard.logs.includes('hello'));
  });
  await operation('cancel', async () => {
    const token = randomBytes(4).toString('hex');
    const stop = new AbortController();
    await fails(
      peer.call('wait', { token }, { signal: stop.signal, onprogress: () => stop.abort() }),
      () => assert.ok(stop.signal.aborted),
    );
    assert.equal(content(await peer.call('was_cancelled', { token })), true);
  });
}
