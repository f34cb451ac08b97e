const VISIBILITY_MS = 30_000;

/**
 * A mailbox as one would write it by hand in memory, with what the library promises: what is sent is copied and frozen,
 * a claim has a deadline, what is acked is kept. No checks, sessions, priorities, events or waiting.
 */
export class HandMailbox {
  ready = [];
  claims = new Map();
  kept = [];
  #made = 0;

  async send({ from, to, subject, body, data }) {
    this.#made += 1;
    const message = Object.freeze({
      id: `${to}!${String(this.#made).padStart(20, '0')}`,
      from,
      to,
      type: 'notification',
      priority: 'medium',
      subject,
      body,
      data: Object.freeze({ ...data }),
      at: Date.now(),
    });
    this.ready.push(message);
    return message;
  }

  /** Takes over a message that was copied before. */
  async post(message) {
    this.ready.push(message);
  }

  async receive(limit = 1) {
    const deadline = Date.now() + VISIBILITY_MS;
    const taken = this.ready.splice(0, limit);
    for (const message of taken) this.claims.set(message.id, { message, deadline });
    return taken;
  }

  async ack(id) {
    const claim = this.claims.get(id);
    if (claim === undefined || claim.deadline <= Date.now()) throw new Error('expected a claim that holds');
    this.claims.delete(id);
    this.kept.push(claim.message);
  }
}
