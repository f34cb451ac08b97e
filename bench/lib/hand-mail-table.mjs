import { bareDriver } from './sqlite.mjs';

const VISIBILITY_MS = 30_000;

/**
 * A mailbox as one would write it by hand in SQLite: mail that stays, and what is open of it in a small table whose key is
 * the order of delivery. A send, a claim and an acknowledgement are a transaction each, of one message or of several.
 */
export class HandMailTable {
  #stamp = 0;

  constructor(file, { synchronous = 'normal' } = {}) {
    const { DatabaseSync } = bareDriver();
    const db = new DatabaseSync(file);
    db.exec(`PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}; PRAGMA temp_store = MEMORY;
      CREATE TABLE mail (session TEXT NOT NULL, stamp INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (session, stamp)) WITHOUT ROWID;
      CREATE TABLE open (session TEXT NOT NULL, deadline INTEGER NOT NULL, stamp INTEGER NOT NULL,
        PRIMARY KEY (session, deadline, stamp)) WITHOUT ROWID`);
    this.db = db;
    this.begin = db.prepare('BEGIN IMMEDIATE');
    this.end = db.prepare('COMMIT');
    this.mail = db.prepare('INSERT INTO mail VALUES (?, ?, ?)');
    this.ready = db.prepare('INSERT INTO open VALUES (?, 0, ?)');
    this.first = db.prepare(`SELECT stamp, value FROM open JOIN mail USING (session, stamp)
      WHERE session = ? AND deadline = 0 ORDER BY stamp LIMIT ?`);
    this.claim = db.prepare('UPDATE open SET deadline = ? WHERE session = ? AND deadline = 0 AND stamp = ?');
    this.done = db.prepare('DELETE FROM open WHERE session = ? AND deadline = ? AND stamp = ?');
  }

  async send(messages) {
    this.begin.run();
    for (const message of messages) {
      const stamp = ++this.#stamp;
      this.mail.run(message.to, stamp, JSON.stringify({ ...message, at: Date.now() }));
      this.ready.run(message.to, stamp);
    }
    this.end.run();
  }

  async receive(session, limit) {
    const deadline = Date.now() + VISIBILITY_MS;
    this.begin.run();
    const found = this.first.all(session, limit);
    for (const { stamp } of found) this.claim.run(deadline, session, stamp);
    this.end.run();
    return found.map(({ stamp, value }) => ({ ...JSON.parse(value), stamp, deadline }));
  }

  async ack(messages) {
    this.begin.run();
    for (const { to, deadline, stamp } of messages) {
      if (this.done.run(to, deadline, stamp).changes !== 1) throw new Error('expected a claim that holds');
    }
    this.end.run();
  }

  counts() {
    const count = (table) => this.db.prepare(`SELECT count(*) AS n FROM ${table}`).get().n;
    return { mail: count('mail'), open: count('open') };
  }

  close() {
    this.db.close();
  }
}
