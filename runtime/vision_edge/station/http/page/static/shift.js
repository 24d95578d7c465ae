// The page of a shift is drawn by the station; its print sheet makes a page of A4 of it.

import { start } from "./common.js";
import { byId } from "./dom.js";

start();
byId("print")?.addEventListener("click", () => window.print());
