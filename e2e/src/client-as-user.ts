/**
 * `node client-as-user.js SOCKET UID GID`: gives up root for this user and group, connects, asks for Status, and prints what came of it:
 * the version that Status named, or the code of the refusal.
 *
 * A process of its own because the change is for ever; a change from within, because Node itself may lie where that user cannot go.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { PluginClient } from './plugin-client.js';

const [socketPath, uid, gid] = process.argv.slice(2);
if (socketPath === undefined || uid === undefined || gid === undefined)
  throw new Error('usage: client-as-user SOCKET UID GID');
if (!process.setgroups || !process.setgid || !process.setuid) throw new Error('this platform has no users');
process.setgroups([]);
process.setgid(Number(gid));
process.setuid(Number(uid));

const socket = connect(socketPath);
try {
  await once(socket, 'connect');
  socket.destroy();
  const client = new PluginClient(socketPath);
  console.log((await client.status()).version);
  client.close();
} catch (error) {
  console.log(error instanceof Error && 'code' in error ? error.code : String(error));
}
