/** Of a record: its revision, `null` where there is none, and when it expires. */
export interface Fact {
  readonly revision: number | null;
  readonly expires: number | null;
}

interface KnownPartition {
  readonly facts: Map<string, Fact>;
  /** How many records it has at most, and the time for which they were counted. */
  bound: { atMost: number; readonly countedAt: number } | undefined;
}

const MOST_FACTS = 10_000;

/**
 * What this connection knows of the file without reading it. It holds as long as no other connection commits, which the
 * file's data version tells, and is for those who write: everything that is written goes through here.
 */
export class Known {
  /** The newest revision. */
  newest: number | undefined;
  #version: number | undefined;
  readonly #partitions = new Map<string, KnownPartition>();
  #facts = 0;

  /** At the begin of a transaction, with the data version that it sees. */
  begin(version: number): void {
    if (version === this.#version && this.#facts <= MOST_FACTS && this.#partitions.size <= MOST_FACTS) return;
    this.forget();
    this.#version = version;
  }

  /** After a transaction that was rolled back, or of which nobody knows. */
  forget(): void {
    this.newest = undefined;
    this.#version = undefined;
    this.#partitions.clear();
    this.#facts = 0;
  }

  factOf(partition: string, key: string): Fact | undefined {
    return this.#partitions.get(partition)?.facts.get(key);
  }

  /** Whether a partition has fewer records than so many, if that is known. */
  hasFewerThan(partition: string, count: number, at: number): boolean {
    const bound = this.#partitions.get(partition)?.bound;
    // A clock that was set back brings expired records back.
    return bound !== undefined && at >= bound.countedAt && bound.atMost < count;
  }

  learn(partition: string, key: string, fact: Fact): void {
    this.#partition(partition).facts.set(key, fact);
    this.#facts += 1;
  }

  counted(partition: string, atMost: number, countedAt: number): void {
    this.#partition(partition).bound = { atMost, countedAt };
  }

  put(partition: string, key: string, fact: Fact): void {
    const known = this.#partitions.get(partition);
    if (!known) return;
    if (known.facts.size > 0 && known.facts.has(key)) known.facts.set(key, fact);
    if (known.bound) known.bound.atMost += 1;
  }

  touched(partition: string, key: string, expires: number): void {
    const facts = this.#partitions.get(partition)?.facts;
    const fact = facts?.get(key);
    if (fact) facts?.set(key, { ...fact, expires });
  }

  /** One record, which had not expired, is gone. */
  removed(partition: string, key: string): void {
    const known = this.#partitions.get(partition);
    if (!known) return;
    known.facts.delete(key);
    if (known.bound) known.bound.atMost -= 1;
  }

  /** So many, which had not expired, are gone, nobody knows which. */
  removedSome(partition: string, count: number): void {
    const known = this.#partitions.get(partition);
    if (!known) return;
    known.facts.clear();
    if (known.bound) known.bound.atMost -= count;
  }

  #partition(name: string): KnownPartition {
    let known = this.#partitions.get(name);
    if (!known) {
      known = { facts: new Map(), bound: undefined };
      this.#partitions.set(name, known);
    }
    return known;
  }
}
