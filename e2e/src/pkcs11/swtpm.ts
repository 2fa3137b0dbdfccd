import { once } from 'node:events';
import { mkdir, rename, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { freePortPair } from '../free-port.js';
import { Process } from '../process.js';
import { DebianTree } from '../debian.js';

const startTimeoutMs = 15_000;
const tcti = 'tabrmd:bus_type=session';
const soPin = 'so-pin-of-the-tpm';
/** A bus of our own, on which the resource manager and its clients meet. */
const busConfig = (socket: string) => `<!DOCTYPE busconfig PUBLIC
  "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;

/** How a key of the token is made. */
export interface TpmKeyOptions {
  readonly label: string;
  /** Becomes CKA_ID as it stands, byte for byte. */
  readonly id: string;
  readonly algorithm: 'aes256' | 'rsa2048' | 'hmac:sha256';
}

/**
 * A software TPM and a token of tpm2-pkcs11 in it.
 *
 * A TPM has room for three objects and serves one client. On a machine the kernel's resource manager (/dev/tpmrm0) shares it out; here
 * tpm2-abrmd does.
 */
export class SwTpm {
  readonly tree: DebianTree;
  readonly tokenLabel = 'kms';
  readonly pinFile: string;
  pin = 'pin-1-of-the-tpm';
  readonly #pins = ['pin-1-of-the-tpm'];
  readonly #directory: string;
  readonly #port: number;
  #tpm: Process | undefined;
  #manager: Process | undefined;
  #bus: Process | undefined;

  private constructor(tree: DebianTree, directory: string, port: number) {
    this.tree = tree;
    this.#directory = directory;
    this.#port = port;
    this.pinFile = path.join(directory, 'pin');
  }

  static async create(directory: string): Promise<SwTpm> {
    const tree = await DebianTree.get('pkcs11');
    const tpm = new SwTpm(tree, directory, await freePortPair());
    for (const folder of ['state', 'store']) await mkdir(path.join(directory, folder), { recursive: true });
    await tpm.#startBus();
    await tpm.start();
    await tpm.ptool('init');
    await tpm.ptool('addtoken', '--pid=1', `--sopin=${soPin}`, `--userpin=${tpm.pin}`, `--label=${tpm.tokenLabel}`);
    await tpm.writePin();
    return tpm;
  }

  get module(): string {
    return this.tree.library('libtpm2_pkcs11.so.1.9.0');
  }

  get environment(): Readonly<Record<string, string>> {
    return {
      ...this.tree.environment,
      TPM2_PKCS11_TCTI: tcti,
      TPM2_PKCS11_STORE: this.store,
      DBUS_SESSION_BUS_ADDRESS: this.#busAddress,
    };
  }

  get store(): string {
    return path.join(this.#directory, 'store');
  }

  /** For a shell in which an operator types the commands of the documentation. */
  get shellEnvironment(): Readonly<Record<string, string>> {
    return { ...this.tree.shellEnvironment, ...this.environment, TPM2TOOLS_TCTI: tcti };
  }

  get pins(): readonly string[] {
    return this.#pins;
  }

  /** Starts the TPM, with the state that it had, and its resource manager. */
  async start(): Promise<void> {
    this.#tpm = await this.#program('swtpm', 'usr/bin/swtpm', [
      'socket',
      '--tpm2',
      '--tpmstate',
      `dir=${path.join(this.#directory, 'state')}`,
      '--server',
      `type=tcp,port=${this.#port},bindaddr=127.0.0.1`,
      '--ctrl',
      `type=tcp,port=${this.#port + 1},bindaddr=127.0.0.1`,
      '--flags',
      'not-need-init,startup-clear',
    ]);
    await this.#tpm.untilReady(() => accepts(this.#port + 1), startTimeoutMs);
    this.#manager = await this.#program('tpm2-abrmd', 'usr/sbin/tpm2-abrmd', [
      '--session',
      '--allow-root',
      `--tcti=swtpm:host=127.0.0.1,port=${this.#port}`,
      '--max-connections=100',
      '--max-transients=100',
    ]);
    await this.#manager.untilReady(
      async () => (await this.#tool('tpm2_getcap', 'properties-fixed')) !== '',
      startTimeoutMs,
    );
  }

  /** As if it were pulled out. */
  async kill(): Promise<void> {
    await this.#manager?.kill();
    await this.#tpm?.kill();
    this.#tpm = undefined;
  }

  get isRunning(): boolean {
    return this.#tpm !== undefined;
  }

  /** Stops and continues the TPM: it takes requests and does not answer. */
  freeze(): void {
    if (this.#tpm !== undefined) process.kill(this.#tpm.pid, 'SIGSTOP');
  }

  thaw(): void {
    if (this.#tpm !== undefined) process.kill(this.#tpm.pid, 'SIGCONT');
  }

  async writePin(pin = this.pin): Promise<void> {
    await writeFile(`${this.pinFile}.new`, `${pin}\n`, { mode: 0o600 });
    await rename(`${this.pinFile}.new`, this.pinFile);
  }

  async makeKey({ label, id, algorithm }: TpmKeyOptions): Promise<void> {
    const names = [`--label=${this.tokenLabel}`, `--key-label=${label}`, `--id=${id}`, `--userpin=${this.pin}`];
    await this.ptool('addkey', `--algorithm=${algorithm}`, ...names);
  }

  /** Deletes every object of the token that `matches` its description, as `tpm2_ptool listobjects` prints it. */
  async deleteKeys(matches: (description: string) => boolean): Promise<void> {
    const listed = await this.ptool('listobjects', `--label=${this.tokenLabel}`);
    for (const description of listed.split(/\n(?=- )/)) {
      const id = /(?:^|\s)id: (\d+)/.exec(description)?.[1];
      if (id !== undefined && matches(description)) await this.ptool('objdel', id);
    }
  }

  async changePin(pin: string, old = this.pin): Promise<void> {
    const pins = [`--old=${old}`, `--new=${pin}`];
    await this.ptool('changepin', '--user=user', `--label=${this.tokenLabel}`, ...pins);
    this.pin = pin;
    this.#pins.push(pin);
  }

  /** Wrong PINs until the TPM takes no PIN any more. */
  async lockOut(): Promise<void> {
    for (let wrong = 0; wrong < 40; wrong += 1) {
      const tried = await this.changePin(`never-${wrong}`, 'wrong-pin').catch((error: unknown) => String(error));
      if (tried?.includes('0x921') === true || tried?.includes('0x00000921') === true) return;
    }
    throw new Error('the TPM does not lock itself');
  }

  /** Ends the lock-out that wrong PINs brought about. */
  async endLockout(): Promise<void> {
    await this.#tool('tpm2_dictionarylockout', '-c');
  }

  async ptool(command: string, ...args: readonly string[]): Promise<string> {
    return this.tree.run('tpm2_ptool', [command, ...args, '--path', this.store], this.shellEnvironment);
  }

  async stop(): Promise<void> {
    this.thaw();
    await this.#manager?.stop();
    await this.#tpm?.stop();
    await this.#bus?.stop();
  }

  get #busAddress(): string {
    return `unix:path=${path.join(this.#directory, 'bus')}`;
  }

  async #startBus(): Promise<void> {
    const config = path.join(this.#directory, 'bus.conf');
    await writeFile(config, busConfig(path.join(this.#directory, 'bus')));
    this.#bus = await this.#program('dbus-daemon', 'usr/bin/dbus-daemon', [
      `--config-file=${config}`,
      '--nofork',
      '--nopidfile',
    ]);
    const isThere = async () => (await stat(path.join(this.#directory, 'bus'))).isSocket();
    await this.#bus.untilReady(isThere, startTimeoutMs);
  }

  async #tool(name: string, ...args: readonly string[]): Promise<string> {
    return this.tree.run(name, args, this.shellEnvironment);
  }

  async #program(name: string, file: string, args: readonly string[]): Promise<Process> {
    const libraries = `${this.tree.libraryPath}:${this.tree.library('swtpm')}`;
    return Process.start({
      name,
      command: 'env',
      args: [
        `LD_LIBRARY_PATH=${libraries}`,
        `DBUS_SESSION_BUS_ADDRESS=${this.#busAddress}`,
        this.tree.file(file),
        ...args,
      ],
      logPath: path.join(this.#directory, `${name}.log`),
    });
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } finally {
    socket.destroy();
  }
}
