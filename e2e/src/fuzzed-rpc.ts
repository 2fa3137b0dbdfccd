import type { SeededRandom } from './seeded-random.js';

/** One RPC that no API server would send. */
export interface FuzzedRpc {
  readonly kind: 'random' | 'truncated' | 'flipped bit' | 'mutated' | 'oversize' | 'unknown method';
  readonly method: string;
  readonly request: Uint8Array;
}

/** The real requests that are cut and bent. */
export type RealRequests = readonly [RealRequest, ...RealRequest[]];

export interface RealRequest {
  readonly method: string;
  readonly request: Uint8Array;
}

const oversizeBytes = 5 * 1024 * 1024;

export function fuzzedRpc(random: SeededRandom, real: RealRequests): FuzzedRpc {
  const { method, request } = random.pick(real);
  const draw = random.below(1000);
  if (draw < 5) return { kind: 'oversize', method, request: Buffer.concat([request, new Uint8Array(oversizeBytes)]) };
  if (draw < 50) return { kind: 'unknown method', method: unknownMethod(random), request };
  if (draw < 350) return { kind: 'random', method, request: random.bytes(random.below(2048)) };
  if (draw < 550) return { kind: 'truncated', method, request: request.subarray(0, random.below(request.length + 1)) };
  if (draw < 750) return { kind: 'flipped bit', method, request: flipped(random, request) };
  return { kind: 'mutated', method, request: mutated(random, request) };
}

function unknownMethod(random: SeededRandom): string {
  const letters = Array.from({ length: 1 + random.below(20) }, () => String.fromCharCode(97 + random.below(26))).join(
    '',
  );
  return random.pick([
    `/v2.KeyManagementService/${letters}`,
    `/v1beta1.KeyManagementService/${letters}`,
    `/${letters}/Status`,
  ]);
}

/** With one bit changed: most such requests still parse, and reach what lies behind the parser. */
function flipped(random: SeededRandom, request: Uint8Array): Uint8Array {
  const at = random.below(request.length);
  const bit = 1 << random.below(8);
  return request.map((byte, index) => (index === at ? byte ^ bit : byte));
}

/** With 1 to 8 changes: a bit flipped, a byte taken out, a few put in, a stretch repeated. */
function mutated(random: SeededRandom, request: Uint8Array): Uint8Array {
  let bytes = Buffer.from(request);
  const changes = 1 + random.below(8);
  for (let change = 0; change < changes; change += 1) {
    const at = random.below(bytes.length + 1);
    const before = bytes.subarray(0, at);
    const after = bytes.subarray(at);
    switch (random.below(4)) {
      case 0:
        bytes = Buffer.from(flipped(random, bytes));
        break;
      case 1:
        bytes = Buffer.concat([before, after.subarray(1)]);
        break;
      case 2:
        bytes = Buffer.concat([before, random.bytes(1 + random.below(8)), after]);
        break;
      default:
        bytes = Buffer.concat([before, after.subarray(0, 16), after]);
    }
  }
  return bytes;
}
