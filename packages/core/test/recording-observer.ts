import type { Fact } from '../src/host.js';
import type { Observer, Publication, RemoteCall } from '../src/observer.js';

/** Keeps what core reports. */
export class RecordingObserver implements Observer {
  readonly remoteCalls: RemoteCall[] = [];
  readonly keyChanges: { readonly key: string; readonly state: 'ready' | 'failing'; readonly error?: Error }[] = [];
  readonly publications: ({ readonly keyId: string } & Publication)[] = [];
  readonly alarms: string[] = [];
  readonly facts: { readonly key: string; readonly fact: Fact }[] = [];

  remoteCall(call: RemoteCall): void {
    this.remoteCalls.push(call);
  }

  keyChanged(key: string, change: { readonly state: 'ready' | 'failing'; readonly error?: Error }): void {
    this.keyChanges.push({ key, ...change });
  }

  published(keyId: string, change: Publication): void {
    this.publications.push({ keyId, ...change });
  }

  alarm(text: string): void {
    this.alarms.push(text);
  }

  fact(key: string, fact: Fact): void {
    this.facts.push({ key, fact });
  }
}
