import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  status,
  type handleUnaryCall,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';

interface JwtSvidRequest {
  readonly audience: readonly string[];
  readonly spiffe_id: string;
}

interface JwtSvidResponse {
  readonly svids: readonly { readonly spiffe_id: string; readonly svid: string }[];
}

/**
 * A SPIFFE Workload API on a unix socket, with the one method that a login needs: spiffe/spiffe, standards/workloadapi.proto and
 * SPIFFE_Workload_Endpoint.md. Its codec is protobufjs, so that a mistake in the backend's own cannot hide behind itself.
 */
export class WorkloadApi {
  /** The JWTs for an audience, by the SPIFFE ID that each is for: the identities of whoever calls. */
  issue: (audience: readonly string[]) => ReadonlyMap<string, string> = () => new Map();
  fetched = 0;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(socket: string): Promise<WorkloadApi> {
    const server = new Server();
    const api = new WorkloadApi(server);
    const fetchJwtSvid: handleUnaryCall<JwtSvidRequest, JwtSvidResponse> = ({ metadata, request }, callback) => {
      api.fetched += 1;
      const [header] = metadata.get('workload.spiffe.io');
      if (header !== 'true') {
        callback({ code: status.INVALID_ARGUMENT, details: 'security header missing from request' });
        return;
      }
      if (request.audience.length === 0) {
        callback({ code: status.INVALID_ARGUMENT, details: 'audience must be specified' });
        return;
      }
      const svids = [...api.issue(request.audience)]
        .map(([id, svid]) => ({ spiffe_id: id, svid }))
        .filter((svid) => request.spiffe_id === '' || svid.spiffe_id === request.spiffe_id);
      if (svids.length === 0) callback({ code: status.PERMISSION_DENIED, details: 'no identity issued' });
      else callback(null, { svids });
    };
    server.addService(serviceDefinition(), { FetchJWTSVID: fetchJwtSvid });
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
    return api;
  }

  stop(): void {
    this.#server.forceShutdown();
  }
}

function serviceDefinition(): ServiceDefinition {
  const definition = fromJSON(
    {
      nested: {
        SpiffeWorkloadAPI: {
          methods: { FetchJWTSVID: { requestType: 'JWTSVIDRequest', responseType: 'JWTSVIDResponse', comment: '' } },
        },
        JWTSVIDRequest: {
          fields: { audience: { rule: 'repeated', type: 'string', id: 1 }, spiffe_id: { type: 'string', id: 2 } },
        },
        JWTSVIDResponse: { fields: { svids: { rule: 'repeated', type: 'JWTSVID', id: 1 } } },
        JWTSVID: {
          fields: {
            spiffe_id: { type: 'string', id: 1 },
            svid: { type: 'string', id: 2 },
            hint: { type: 'string', id: 3 },
          },
        },
      },
    },
    { keepCase: true, defaults: true },
  );
  const { SpiffeWorkloadAPI: service } = loadPackageDefinition(definition);
  if (typeof service !== 'function') throw new Error('the definition holds no service');
  return service.service;
}
