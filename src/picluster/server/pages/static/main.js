// Puts the livelier half of the pages together. Without any of this, every page and form works as it stands.

import { startTimes } from "./times.js";
import { startLive } from "./live.js";
import { startList } from "./list.js";
import { startDialogs } from "./dialogs.js";
import { startKeys } from "./keys.js";
import { startLook } from "./look.js";
import { startWaits } from "./waits.js";

startTimes();
startLook();
startDialogs();
startList();
startKeys();
startWaits();
startLive();
