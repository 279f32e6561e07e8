// Package steps plays the browser steps of a journey on the pages of a run. They do what those of Chrome DevTools Recorder do, as its
// own runner, @puppeteer/replay, plays them. A step takes place in its target (the run's page; or the page, such as a popup, or else
// the frame that shows exactly that URL) and there in its frame, both of which it waits for. A click is the mouse's on devices with
// touch too, unless its deviceType says otherwise: so do Recorder and Lighthouse.
//
// Differences that are meant, all of which a person at the page would see:
//
//   - An element that is pressed, hovered or filled must be visible, and one that is pressed or hovered not covered: the other runner
//     presses what lies above. Disabled is also what a fieldset or aria-disabled disables. What stands still is also not about to
//     move. See package elements for what is found.
//   - change replaces a text as a person does who marks it all: the page is told, also of an emptied field. From 100 characters on it is
//     pasted. It fails where the field kept another text, where a select gets no such option (it may come late), where a control
//     does not change when it is pressed; it warns where the page emptied the field. A checkbox, radio button or switch is on for any
//     value but "", false, off and unchecked.
//   - keyDown and keyUp go to the page of the target, not always to the main one, and no time passes after them. A key that a US keyboard
//     lacks is taken where it is a character.
//   - deviceType pen and touch are played. While a button is held, nobody waits: duration is no part of the step's.
//   - setViewport does not load the page again, scroll does not wait for smooth scrolling, emulateNetworkConditions is not applied.
//   - waitForElement with visible: true counts what is visible, with visible: false it wants that nothing is; the other runner only
//     looks what is in the document.
//   - waitForExpression goes on where the expression throws, and a page's Content-Security-Policy does not concern it.
//   - An asserted navigation may be that of the frame or of its page; its url and title are checked where they are set. A page, whether
//     a step navigates to it or is to cause it, that answers with status 400 or over is a failure.
//   - After the step that closed the run's page, steps there fail with a cause that says so.
//
// Ours: assertions and extractions look at the step's target and frame. A condition (when) is no part of the step's duration; a target that
// is not there holds none. consoleErrors and failedRequests are looked at when the page has settled: with settle, what comes late
// counts, too. settle gives any step's page time to become quiet.
package steps
