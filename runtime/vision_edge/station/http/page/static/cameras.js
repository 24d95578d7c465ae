// GenICam cameras on the station's networks: found, and tried before they are written down.

import { get, post } from "./api.js";
import { field, show } from "./dialogs.js";
import { button, byId, el, t } from "./dom.js";

const said = (text, kind) => el("p", { class: kind, role: "status" }, text);

/** One camera, with a button that takes its address into the field. */
function row(camera, input) {
  const node = el("div", { class: "health-row" }, el("h3", {}, camera.model || camera.address), el("span", {}),
    el("p", { class: "quiet" }, [camera.where, camera.serial].filter(Boolean).join(" · ")), el("p", { class: "quiet" }, el("code", {}, camera.address)));
  if (camera.source) node.append(el("p", { class: "quiet" }, t("cameras.used", { source: camera.source })));
  else node.append(el("div", { class: "row tight" }, button(t("cameras.take"), { run: () => { input.value = camera.address; input.focus(); } })));
  return node;
}

async function tried(input, result) {
  result.replaceChildren(said(t("cameras.trying"), "quiet"));
  try {
    const { width, height, ms, message } = await post("cameras/try", { address: input.value.trim() });
    const size = width === null ? null : `${width} × ${height}, ${Math.round(ms)} ms`;
    result.replaceChildren(said([message, size].filter(Boolean).join(" · "), "note"));
  } catch (error) {
    if (!error.what) throw error;
    result.replaceChildren(said([error.what, error.fix].filter(Boolean).join("; "), "note warn"));
  }
  result.scrollIntoView({ block: "nearest" });
}

async function find() {
  const found = el("div", {}, said(t("cameras.looking"), "quiet"));
  const result = el("div", {});
  const { input, nodes } = field("camera-address", t("cameras.address"), { maxlength: "500", placeholder: "genicam://" });
  const attempt = button(t("cameras.try"), { "data-key": "try", run: () => tried(input, result) });
  show({ title: t("cameras.find"), body: [found, ...nodes, el("div", { class: "row tight" }, attempt), result, el("p", { class: "quiet" }, t("cameras.then"))] });
  try {
    const { cameras } = await get("cameras");
    found.replaceChildren(...(cameras.length ? cameras.map((camera) => row(camera, input)) : [said(t("cameras.none"), "quiet")]));
  } catch (error) {
    if (!error.what) throw error;
    found.replaceChildren(said([error.what, error.fix].filter(Boolean).join("; "), "note warn"));
  }
}

/** Offer the search to engineers. */
export function startCameras(engineer) {
  if (engineer) byId("cameras").after(el("div", { class: "row tight" }, button(t("cameras.find"), { "data-key": "find cameras", run: find })));
}
