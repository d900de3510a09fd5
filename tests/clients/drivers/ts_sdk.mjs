// Drives @modelcontextprotocol/sdk, version 1: node ts_sdk.mjs URL ERA

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

import { answers, capabilities, drive, introduce } from './_node.mjs';

const [url, era] = process.argv.slice(2);

async function connect(heard) {
  const client = new Client({ name: 'matrix', version: '1' }, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => answers.elicitation(params));
  client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => answers.sampling(params));
  client.setRequestHandler(ListRootsRequestSchema, () => answers.roots());
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void heard.logs.push(params.data));
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (heard.changes += 1));
  client.onerror = (error) => console.error(`onerror: ${error.message}`);
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  return {
    protocol: transport.protocolVersion,
    tools: async () => (await client.listTools()).tools.map(({ name }) => name),
    call: (name, values = {}, options) => client.callTool({ name, arguments: values }, CallToolResultSchema, options),
    terminate: () => transport.terminateSession(),
    close: () => client.close(),
  };
}

introduce('@modelcontextprotocol/sdk');
await drive(era, connect);
