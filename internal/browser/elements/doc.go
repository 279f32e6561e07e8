// Package elements finds elements in the frames of a run's pages and prepares them for input, by small scripts in an isolated world:
// they share the document with the page, but none of its variables. There is no mirror of the DOM, and a look is one call.
//
// # Selectors
//
// They are those of Chrome DevTools Recorder: CSS (with the prefix css/ or none), aria/, text/, xpath/ and pierce/; a chain of them goes
// through shadow roots. CSS may have the pseudo-elements ::-p-aria(), ::-p-text() and ::-p-xpath(), and the combinators >>> (into all
// shadow roots below) and >>>> (into that of the element). Different from Puppeteer, which the reference runner is made of:
//
//   - Alternatives are not raced. Each look tries the cheap ones first, CSS before XPath before text; the accessibility tree, which
//     costs 16 ms at best, is asked where they match nothing, and now and then where what they match is not ready.
//   - Of several matches the first visible one is taken, not the first: a person cannot press what does not show.
//   - A part of a chain is looked for below the matches of the part before also where these have no shadow root.
//   - text/ does not look into passwords, hidden fields, noscript and template; it finds what is slotted into a shadow root.
//   - aria/ takes runs of spaces in a name for one, as the accessibility tree does.
//   - A selector that cannot be understood is an error at once where there is no other alternative.
package elements
