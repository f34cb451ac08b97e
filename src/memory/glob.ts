const STAR = '*'.charCodeAt(0);
const ANY = '?'.charCodeAt(0);

/**
 * Whether a text matches a pattern in which `*` stands for any run of characters and `?` for one; everything else is
 * itself. Takes time in proportion to pattern × text at worst: only the last `*` is ever tried again (the wildcard
 * matching of two pointers, as in R. Salz's `wildmat` without its recursion). Both are well-formed Unicode.
 */
export function matchesGlob(pattern: string, text: string): boolean {
  let at = 0;
  let index = 0;
  let star = -1;
  let resume = 0;
  while (index < text.length) {
    const wanted = pattern.charCodeAt(at);
    if (wanted === STAR) {
      star = at++;
      if (at === pattern.length) return true;
      resume = index;
    } else if (wanted === ANY) {
      at += 1;
      index += widthAt(text, index);
    } else if (wanted === text.charCodeAt(index)) {
      at += 1;
      index += 1;
    } else if (star >= 0) {
      at = star + 1;
      resume += widthAt(text, resume);
      index = resume;
    } else {
      return false;
    }
  }
  while (pattern.charCodeAt(at) === STAR) at += 1;
  return at === pattern.length;
}

/** The same for many texts: most are told by their ends, before anything is tried. */
export function globMatcher(pattern: string): (text: string) => boolean {
  const suffix = pattern.slice(Math.max(pattern.lastIndexOf('*'), pattern.lastIndexOf('?')) + 1);
  return (text) => text.endsWith(suffix) && matchesGlob(pattern, text);
}

/** What every text that matches begins with. */
export function literalPrefix(pattern: string): string {
  const end = pattern.search(/[*?]/);
  return end < 0 ? pattern : pattern.slice(0, end);
}

/** How many code units the character has that begins here. */
function widthAt(text: string, index: number): number {
  const unit = text.charCodeAt(index);
  return unit >= 0xd800 && unit < 0xdc00 ? 2 : 1;
}
