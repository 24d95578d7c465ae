// Where a login leads: one parsing, and what was parsed is what is used.

/**
 * The address to go to after a login, whatever the address bar asks for: one of this station.
 *
 * The result is the whole address that was checked, with its origin: a path taken out of it and
 * parsed again could mean another host (`/.//host/` has the path `//host/`).
 */
export function destination(search, origin) {
  const home = `${origin}/`;
  const wanted = new URLSearchParams(search).get("next");
  if (!wanted?.startsWith("/")) return home;
  try {
    const url = new URL(wanted, home);
    return url.origin === origin && !url.username && !url.password ? url.href : home;
  } catch {
    return home;
  }
}
