import { EnvelopeDecoder, type ReceivedEnvelope } from '../src/envelope-decoder.js';
import type { EnvelopeParts } from '../src/envelope.js';

/** What `parts` say, decoded by itself. */
export function decodeEnvelope(parts: EnvelopeParts, cluster: string): ReceivedEnvelope {
  return new EnvelopeDecoder(cluster).decode(parts);
}
