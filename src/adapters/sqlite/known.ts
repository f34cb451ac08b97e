/** Of a record: its revision, `null` where there is none, and when it expires. */
export interface Fact {
  readonly revision: number | null;
  readonly expires: number | null;
}

interface KnownPartition {
  readonly facts: Map<string, Fact>;
  /** How many records it has at most. */
  atMost: number | undefined;
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
  #at = 0;
  readonly #partitions = new Map<string, KnownPartition>();
  #facts = 0;

  /** At the begin of a transaction, with the data version that it sees and its time. */
  begin(version: number, at: number): void {
    // A clock that was set back would bring back what has expired, of which some is gone.
    const holds = version === this.#version && at >= this.#at && this.#facts <= MOST_FACTS && this.#partitions.size <= MOST_FACTS;
    if (!holds) this.forget();
    this.#version = version;
    this.#at = at;
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

  /** Whether a partition is known to have fewer records than so many. */
  hasFewerThan(partition: string, count: number): boolean {
    const atMost = this.#partitions.get(partition)?.atMost;
    return atMost !== undefined && atMost < count;
  }

  learn(partition: string, key: string, fact: Fact): void {
    this.#partition(partition).facts.set(key, fact);
    this.#facts += 1;
  }

  counted(partition: string, atMost: number): void {
    this.#partition(partition).atMost = atMost;
  }

  put(partition: string, key: string, fact: Fact): void {
    const known = this.#partitions.get(partition);
    if (!known) return;
    if (known.facts.has(key)) known.facts.set(key, fact);
    if (known.atMost !== undefined) known.atMost += 1;
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
    if (known.atMost !== undefined) known.atMost -= 1;
  }

  /** So many, which had not expired, are gone, nobody knows which. */
  removedSome(partition: string, count: number): void {
    const known = this.#partitions.get(partition);
    if (!known) return;
    known.facts.clear();
    if (known.atMost !== undefined) known.atMost -= count;
  }

  #partition(name: string): KnownPartition {
    let known = this.#partitions.get(name);
    if (!known) {
      known = { facts: new Map(), atMost: undefined };
      this.#partitions.set(name, known);
    }
    return known;
  }
}
