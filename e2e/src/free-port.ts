import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * A TCP port of the loopback interface that nothing listens on.
 *
 * Another process may take it before the caller does; the kernel hands ports out in turn, so that this is rare.
 */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  return address.port;
}

/**
 * The first of two neighbouring ports that nothing listens on, for a program that takes the next one too.
 *
 * Below the range out of which the kernel takes ports for outgoing connections: both are still free when the program starts again.
 */
export async function freePortPair(): Promise<number> {
  for (;;) {
    const port = 2 * randomInt(10_000, 15_000);
    if ((await isFree(port)) && (await isFree(port + 1))) return port;
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
