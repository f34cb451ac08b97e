import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { readDocument } from './readme.ts';
import { SOURCES } from './source-tree.ts';

/** What every event has. */
const COMMON = ['name', 'at', 'cursor'];
const MAPS = ['RegistryEvents', 'MessageEvents', 'TaskEvents', 'CollaborationEvents', 'MemoryEvents', 'KeyEvents'];

const written = eventsOfSources();
const documented = new Map(
  [...readDocument('docs/events.md').matchAll(/^\| `(\w+_\w+)` \| ((?:\[?`\w+`\]?(?:, )?)+) \|/gm)].map(
    ([, name = '', fields = '']) => [name, fields.split(', ').map((field) => field.replaceAll('`', ''))],
  ),
);

describe('the document of events', () => {
  it('has every event of every class, and no other', () => {
    expect(written.size).toBeGreaterThan(40);
    expect([...documented.keys()].sort()).toEqual([...written.keys()].sort());
  });

  it.each([...written])('has the fields of %s', (name, fields) => {
    expect([...(documented.get(name) ?? [])].sort()).toEqual([...fields].sort());
  });
});

/** The events that the types of the source declare, with their fields; one that may be absent in brackets. */
function eventsOfSources(): Map<string, string[]> {
  const interfaces = new Map<string, ts.InterfaceDeclaration>();
  const maps: ts.TypeAliasDeclaration[] = [];
  for (const { name, tree } of SOURCES) {
    if (!name.endsWith('/events.ts')) continue;
    for (const statement of tree.statements) {
      if (ts.isInterfaceDeclaration(statement)) interfaces.set(statement.name.text, statement);
      if (ts.isTypeAliasDeclaration(statement) && MAPS.includes(statement.name.text)) maps.push(statement);
    }
  }
  const fieldsOf = (type: ts.Node): string[] => {
    if (ts.isIntersectionTypeNode(type)) return type.types.flatMap(fieldsOf);
    if (ts.isTypeLiteralNode(type)) return membersOf(type.members);
    const declared = ts.isTypeReferenceNode(type) ? interfaces.get(type.typeName.getText()) : undefined;
    return declared ? membersOf(declared.members) : [];
  };
  const events = new Map<string, string[]>();
  for (const { type } of maps) {
    if (!ts.isTypeLiteralNode(type)) continue;
    for (const member of type.members) {
      if (!ts.isPropertySignature(member) || !member.type) continue;
      const fields = fieldsOf(member.type).filter((field) => !COMMON.includes(field));
      // One that an event always has may be declared as optional for all.
      const always = new Set(fields.filter((field) => !field.startsWith('[')));
      events.set(member.name.getText(), [...new Set(fields.filter((field) => !always.has(field.slice(1, -1))))]);
    }
  }
  return events;
}

function membersOf(members: ts.NodeArray<ts.TypeElement>): string[] {
  return members.flatMap((member) => {
    if (!ts.isPropertySignature(member)) return [];
    const name = member.name.getText();
    return [member.questionToken ? `[${name}]` : name];
  });
}
