// The page of a shift is drawn by the station; here is only what every page has.

import { start } from "./common.js";

start();
