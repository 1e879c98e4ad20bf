import { createApiClient, UPLOAD_HEADER, UPLOAD_REQUEST_HEADER, uploadListenerRoutes } from '@millrace/api';
import { MillraceError, toBase64 } from '@millrace/base';
import type { HttpClient } from '@millrace/protocol';
import type { Transports } from '../api.ts';
import { type SigningContext, signNew } from '../transactions.ts';

/** The signature opens uploads of one design for this time, ms. */
const VALID_MS = 3_600_000;
/** A signature that ends within this time is replaced before it is used, ms. */
const MARGIN_MS = 60_000;

export interface UploadTransportOptions {
  readonly control: HttpClient;
  /** To distribution's listener for browsers. */
  readonly distribution: HttpClient;
  /** Origin of that listener. */
  readonly origin: string;
  /** Signs `upload.open`: its signer may ask the person first. */
  readonly context: SigningContext;
  /** Credential of the signer. */
  credential(): Promise<Uint8Array>;
}

/**
 * Connections for uploads without a certificate. One signature for each design opens the upload at distribution, also
 * after that node was restarted, and lets control know of its end.
 */
export function uploadTransports(options: UploadTransportOptions): Transports {
  const { control, distribution, origin, context, credential } = options;
  const { uploads } = createApiClient(uploadListenerRoutes, { transport: distribution });
  const signed = new Map<string, { readonly until: number; readonly request: Promise<string> }>();
  const secrets = new Map<string, Promise<string>>();

  const requestFor = (design: string): Promise<string> => {
    const now = context.clock.now();
    const known = signed.get(design);
    if (known !== undefined && known.until > now + MARGIN_MS) return known.request;
    const request = signNew(context, { type: 'upload.open', design, origin }, undefined, VALID_MS).then(({ bytes }) =>
      toBase64(bytes),
    );
    const entry = { until: now + VALID_MS, request };
    signed.set(design, entry);
    request.catch(() => {
      if (signed.get(design) === entry) signed.delete(design);
    });
    return request;
  };
  const secretFor = (design: string): Promise<string> => {
    const known = secrets.get(design);
    if (known !== undefined) return known;
    const asked = (async () => {
      const [request, proof] = [await requestFor(design), await credential()];
      return (await uploads.open({ body: { request, credential: toBase64(proof) } })).secret;
    })();
    secrets.set(design, asked);
    asked.catch(() => forget(design, asked));
    return asked;
  };
  const forget = (design: string, secret: Promise<string>) => {
    if (secrets.get(design) === secret) secrets.delete(design);
  };

  return {
    control: {
      call: async (method, path, request) => {
        const design = /^\/v1\/designs\/([0-9a-f]{32})\/uploaded$/.exec(path)?.[1];
        if (design === undefined) return control.call(method, path, request);
        const headers = { ...request?.headers, [UPLOAD_REQUEST_HEADER]: await requestFor(design) };
        return control.call(method, path, { ...request, headers });
      },
      close: () => control.close(),
    },
    distribution: {
      call: async (method, path, request) => {
        const design = /^\/v1\/uploads\/([0-9a-f]{32})(?:[/?]|$)/.exec(path)?.[1];
        if (design === undefined) return distribution.call(method, path, request);
        for (let again = false; ; again = true) {
          const secret = secretFor(design);
          try {
            const headers = { ...request?.headers, [UPLOAD_HEADER]: await secret };
            return await distribution.call(method, path, { ...request, headers });
          } catch (error) {
            if (again || !(error instanceof MillraceError)) throw error;
            // Distribution was restarted and has forgotten the secret, or it has expired.
            if (error.code === 'E_EXPIRED') signed.delete(design);
            else if (error.code !== 'E_AUTH') throw error;
            forget(design, secret);
          }
        }
      },
      close: () => distribution.close(),
    },
  };
}
