// What a client needs, read as one set; the warden renews these files, `follow` notices.
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';

const CERTS_DIR = process.env.TEMPORAL_CERTS_DIR ?? '/etc/temporal/certs';
const SERVER_NAME = process.env.TEMPORAL_TLS_SERVER_NAME ?? 'temporal-server';
const CHECK_EVERY_MS = 5_000;

export const ADDRESS = process.env.TEMPORAL_ADDRESS ?? 'temporal:7233';
export const NAMESPACE = process.env.TEMPORAL_NAMESPACE ?? 'default';

export interface Material {
  readonly ca: Buffer;
  readonly certificate: Buffer;
  readonly key: Buffer;
  readonly token: string;
}

/** Reads all files from one generation: `..data` is the link that the warden moves from one set to the next. */
export function read(tokenFile: string): Material {
  const generation = join(CERTS_DIR, '..data');
  const folder = existsSync(generation) ? realpathSync(generation) : CERTS_DIR;
  return {
    ca: readFileSync(join(folder, 'ca.crt')),
    certificate: readFileSync(join(folder, 'temporal-client.crt')),
    key: readFileSync(join(folder, 'temporal-client.key')),
    token: readFileSync(join(folder, tokenFile), 'utf8').trim(),
  };
}

/** For `Connection.connect` and `NativeConnection.connect` alike. */
export function tls(material: Material) {
  return {
    serverNameOverride: SERVER_NAME,
    serverRootCACertificate: material.ca,
    clientCertPair: { crt: material.certificate, key: material.key },
  };
}

/**
 * Looks at the files for ever. A new token is given to `onToken`; new certificates to `onCertificates`, which opens
 * another connection, for both kinds read theirs once. What fails is said and tried again: the old may still be good.
 */
export function follow(
  tokenFile: string,
  first: Material,
  onToken: (material: Material) => Promise<void>,
  onCertificates: (material: Material) => Promise<void>,
): void {
  let current = first;
  const look = async (): Promise<void> => {
    try {
      const next = read(tokenFile);
      if (!sameCertificates(next, current)) {
        await onCertificates(next);
        console.log('temporal: reconnected with new certificates');
      } else if (next.token !== current.token) {
        await onToken(next);
        console.log('temporal: token re-read');
      }
      current = next;
    } catch (error) {
      console.warn('temporal: new material not usable yet:', error);
    }
    setTimeout(look, CHECK_EVERY_MS).unref();
  };
  setTimeout(look, CHECK_EVERY_MS).unref();
}

function sameCertificates(a: Material, b: Material): boolean {
  return a.ca.equals(b.ca) && a.certificate.equals(b.certificate) && a.key.equals(b.key);
}
