import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** Below the range out of which the kernel takes ports for outgoing connections: a program that is started again finds its port free again. */
const lowestPort = 20_000;
const highestPort = 32_000;

/**
 * A TCP port of the loopback interface that nothing listens on.
 *
 * Another process may take it before the caller does; each is drawn at random, so that this is rare.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(lowestPort, highestPort);
    if (await isFree(port)) return port;
  }
}

/** The first of two neighbouring ports that nothing listens on, for a program that takes the next one too. */
export async function freePortPair(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (await isFree(port + 1)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const listening = once(server, 'listening');
  server.listen(port, '127.0.0.1');
  try {
    await listening;
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
