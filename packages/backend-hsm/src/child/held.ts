/** Some modules ask for more room than the answer then takes. */
const SLACK = 64;

const inFlight = new Set<readonly Buffer[]>();

/**
 * Runs `call` with a copy of `input` and with room for an answer of `outputLength` bytes; keeps both referenced until the call has returned,
 * and overwrites them then.
 *
 * The asynchronous forms of pkcs11js hand bare pointers to another thread and hold no reference: a buffer that is collected meanwhile
 * gives wrong output, or ends the process.
 *
 * @returns a copy of the answer
 */
export async function held(
  input: Uint8Array,
  outputLength: number,
  call: (input: Buffer, room: Buffer) => Promise<Buffer>,
): Promise<Uint8Array> {
  // `alloc` never takes from Node's shared pool, whose pages hold other buffers too.
  const copy = Buffer.alloc(input.length);
  copy.set(input);
  const room = Buffer.alloc(outputLength + SLACK);
  const buffers = [copy, room];
  inFlight.add(buffers);
  try {
    return Uint8Array.from(await call(copy, room));
  } finally {
    inFlight.delete(buffers);
    for (const buffer of buffers) buffer.fill(0);
  }
}
