import type { Closable, Logger } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import type { TlsFiles } from '@millrace/protocol';

/** Interval at which a listener's own certificate is read again from its files, ms. */
const TLS_EVERY_MS = 3_600_000;

/** Gives a listener the certificate of its files whenever they are replaced. */
export function renewTlsFrom(files: TlsFiles, renewTls: (tls: TlsIdentity) => void, logger: Logger): Closable {
  const renew = async () => {
    if (await files.refresh()) renewTls(files.identity);
  };
  const timer = setInterval(() => {
    renew().catch((err: unknown) => logger.warn({ err }, 'certificate of a listener not read again'));
  }, TLS_EVERY_MS);
  return { close: () => clearInterval(timer) };
}
