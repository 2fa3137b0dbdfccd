import { createVerify, constants, X509Certificate, type KeyObject } from 'node:crypto';
import type { HttpAnswer, HttpRequest } from '../loopback-server.js';
import { issueToken, readToken } from './token.js';

/** What an application may log in with. */
export interface Application {
  readonly clientId: string;
  readonly secrets: Set<string>;
  /** PEM. */
  readonly certificates: Set<string>;
  /** Federated credentials, by the public key of their issuer: one issuer and subject each. */
  readonly federated: Map<string, { readonly issuerKey: KeyObject; readonly subject: string }>;
}

interface EntraOptions {
  readonly tenantId: string;
  /** `https://host:port` of this authority. */
  readonly origin: () => string;
  readonly tokenSeconds: () => number;
}

/** Microsoft Entra ID, as far as an application that logs in with its own credential sees it. */
export class Entra {
  readonly applications = new Map<string, Application>();
  readonly #options: EntraOptions;
  /** Answers instead of everything else. */
  outage: HttpAnswer | undefined;
  logins = 0;

  constructor(options: EntraOptions) {
    this.#options = options;
  }

  readonly handle = (request: HttpRequest): HttpAnswer => {
    if (this.outage !== undefined) return this.outage;
    const { tenantId } = this.#options;
    const path = request.url.pathname;
    if (path === `/${tenantId}/v2.0/.well-known/openid-configuration`) return this.#configuration();
    if (path === `/${tenantId}/oauth2/v2.0/token` && request.method === 'POST') {
      return this.#token(new URLSearchParams(request.body.toString('utf8')));
    }
    // learn.microsoft.com/entra/identity-platform/reference-error-codes, AADSTS90002.
    return refusal(400, 'invalid_request', 'AADSTS90002: Tenant not found.');
  };

  /** learn.microsoft.com/entra/identity-platform/v2-protocols-oidc, "Find your app's OpenID configuration document URI". */
  #configuration(): HttpAnswer {
    const base = `${this.#options.origin()}/${this.#options.tenantId}`;
    return {
      status: 200,
      json: {
        token_endpoint: `${base}/oauth2/v2.0/token`,
        authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
        end_session_endpoint: `${base}/oauth2/v2.0/logout`,
        jwks_uri: `${base}/discovery/v2.0/keys`,
        issuer: `${base}/v2.0`,
        response_types_supported: ['code', 'id_token'],
      },
    };
  }

  /** learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow, all three cases of "Get a token". */
  #token(form: URLSearchParams): HttpAnswer {
    this.logins += 1;
    if (form.get('grant_type') !== 'client_credentials') {
      return refusal(400, 'unsupported_grant_type', 'AADSTS70003: The app requested an unsupported grant type.');
    }
    const application = this.applications.get(form.get('client_id') ?? '');
    if (application === undefined) {
      return refusal(400, 'unauthorized_client', 'AADSTS700016: Application was not found in the directory.');
    }
    const scope = form
      .get('scope')
      ?.split(' ')
      .find((name) => name.endsWith('/.default'));
    if (scope === undefined)
      return refusal(400, 'invalid_scope', 'AADSTS1002012: The provided value for scope is not valid.');
    const refused = this.#check(form, application);
    if (refused !== undefined) return refused;
    const seconds = this.#options.tokenSeconds();
    const token = issueToken({
      audience: scope.slice(0, -'/.default'.length),
      application: application.clientId,
      tenant: this.#options.tenantId,
      seconds,
    });
    return {
      status: 200,
      json: { token_type: 'Bearer', expires_in: seconds, ext_expires_in: seconds, access_token: token },
    };
  }

  #check(form: URLSearchParams, application: Application): HttpAnswer | undefined {
    const secret = form.get('client_secret');
    if (secret !== null) {
      if (application.secrets.has(secret)) return undefined;
      return refusal(401, 'invalid_client', 'AADSTS7000215: Invalid client secret provided.');
    }
    const assertion = form.get('client_assertion');
    if (
      form.get('client_assertion_type') !== 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' ||
      assertion === null
    ) {
      return refusal(401, 'invalid_client', 'AADSTS7000216: client_assertion, client_secret or request is required.');
    }
    const { clientId } = application;
    for (const certificate of application.certificates) {
      if (isSignedBy(assertion, new X509Certificate(certificate).publicKey) && isFresh(assertion, clientId))
        return undefined;
    }
    for (const { issuerKey, subject } of application.federated.values()) {
      if (isSignedBy(assertion, issuerKey) && isFresh(assertion, subject)) return undefined;
    }
    return refusal(401, 'invalid_client', 'AADSTS700027: Client assertion failed signature validation.');
  }
}

function refusal(status: number, error: string, description: string): HttpAnswer {
  return {
    status,
    json: { error, error_description: description, error_codes: [Number(/\d+/.exec(description)?.[0])] },
  };
}

/** learn.microsoft.com/entra/identity-platform/certificate-credentials, "Assertion format": PS256 over header and claims, or RS256. */
function isSignedBy(assertion: string, key: KeyObject): boolean {
  const [head = '', claims = '', signature = ''] = assertion.split('.');
  const { alg } = readToken(assertion, { part: 'head' });
  const padding = alg === 'PS256' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING;
  if (key.asymmetricKeyType !== 'rsa' || (alg !== 'PS256' && alg !== 'RS256')) return false;
  const verifier = createVerify('sha256').update(`${head}.${claims}`);
  return verifier.verify({ key, padding, saltLength: 32 }, signature, 'base64url');
}

function isFresh(assertion: string, subject: string): boolean {
  const { sub, exp } = readToken(assertion, { part: 'claims' });
  return sub === subject && typeof exp === 'number' && exp > Date.now() / 1_000;
}
