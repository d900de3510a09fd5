// Drives @modelcontextprotocol/client: node ts_client.mjs URL ERA

import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { answers, capabilities, drive, introduce } from './_node.mjs';

const [url, era] = process.argv.slice(2);

async function connect(heard) {
  const mode = era === 'handshake' ? 'legacy' : 'auto';
  const client = new Client({ name: 'matrix', version: '1' }, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', ({ params }) => answers.elicitation(params));
  client.setRequestHandler('sampling/createMessage', ({ params }) => answers.sampling(params));
  client.setRequestHandler('roots/list', () => answers.roots());
  client.setNotificationHandler('notifications/message', ({ params }) => void heard.logs.push(params.data));
  client.setNotificationHandler('notifications/tools/list_changed', () => void (heard.changes += 1));
  client.onerror = (error) => console.error(`onerror: ${error.message}`);
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  // In 2026-07-28 a request says which log messages it wants.
  const _meta = era === 'handshake' ? undefined : { [LOG_LEVEL_META_KEY]: 'info' };
  return {
    protocol: client.getNegotiatedProtocolVersion(),
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: (name, values = {}, options) => client.callTool({ name, arguments: values, _meta }, options),
    listen: () => client.listen({ toolsListChanged: true }),
    terminate: () => transport.terminateSession(),
    close: () => client.close(),
  };
}

introduce('@modelcontextprotocol/client');
await drive(era, connect);
