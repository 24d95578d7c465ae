// What is said of a verdict: words that are true. That something is not registered, no camera knows.

import { t } from "./dom.js";

/** The band's word; nothing in view is none of them. */
export const band = (record) => (record.in_view === false ? t("band.nothing") : t(`band.${record.band}`));

/** What a verdict is called: the product, or whose it may be, or that it is not recognised. */
export function verdictName(record) {
  if (record.in_view === false) return t("verdict.nothing");
  const parts = record.parts || [];
  if (parts.length > 1) return t("verdict.parts", { n: parts.length, names: parts.map((part) => part.label ?? t("verdict.unknown")).join(", ") });
  if (record.band === "accept") return record.label;
  return record.band === "review" ? t("verdict.perhaps", { label: record.nearest }) : t("verdict.unknown");
}
