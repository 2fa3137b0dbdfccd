import { Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { BinaryWriter } from '@bufbuild/protobuf/wire';

interface StatusDetails {
  readonly reason?: string;
  readonly violation?: { readonly type: string; readonly subject: string };
  readonly retryAfterSeconds?: number;
}

/** An answer of Cloud KMS that says no: a gRPC status with details (googleapis/googleapis, google/rpc/status.proto and error_details.proto). */
export class KmsStatus extends Error {
  override readonly name = 'KmsStatus';
  readonly code: keyof typeof status;
  readonly details: StatusDetails;

  constructor(code: keyof typeof status, message: string, details: StatusDetails = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }

  get answer(): Pick<ServiceError, 'code' | 'details' | 'metadata'> {
    const metadata = new Metadata();
    metadata.set('grpc-status-details-bin', Buffer.from(this.#encoded));
    return { code: status[this.code], details: this.message, metadata };
  }

  /** `google.rpc.Status`: code 1, message 2, details 3, each a `google.protobuf.Any`: type_url 1, value 2. */
  get #encoded(): Uint8Array {
    const writer = new BinaryWriter().uint32(8).int32(status[this.code]).uint32(18).string(this.message);
    const { reason, violation, retryAfterSeconds } = this.details;
    const any = (type: string, value: Uint8Array): void => {
      const packed = new BinaryWriter()
        .uint32(10)
        .string(`type.googleapis.com/google.rpc.${type}`)
        .uint32(18)
        .bytes(value);
      writer.uint32(26).bytes(packed.finish());
    };
    // ErrorInfo: reason 1, domain 2.
    if (reason !== undefined) {
      any('ErrorInfo', new BinaryWriter().uint32(10).string(reason).uint32(18).string('googleapis.com').finish());
    }
    // PreconditionFailure: violations 1, each with type 1 and subject 2.
    if (violation !== undefined) {
      const one = new BinaryWriter().uint32(10).string(violation.type).uint32(18).string(violation.subject).finish();
      any('PreconditionFailure', new BinaryWriter().uint32(10).bytes(one).finish());
    }
    // RetryInfo: retry_delay 1, a Duration with seconds 1.
    if (retryAfterSeconds !== undefined) {
      const duration = new BinaryWriter().uint32(8).int64(retryAfterSeconds).finish();
      any('RetryInfo', new BinaryWriter().uint32(10).bytes(duration).finish());
    }
    return writer.finish();
  }
}
