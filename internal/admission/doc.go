// Package admission decides when a run may begin on this machine, so that no number is quietly slow because the machine was busy: a run
// that finds no room waits, starts late or does not start, and its result says so. What a run could not be kept from, work of others
// on the machine, is measured and noted in its result, whose times then count for nothing.
//
// Browser runs share half of the cores. What a run will take is learnt from those of its kind that have ended (CPU time over wall
// time, a moving average; the first counts as one core), and a run that alone takes more than that half is admitted when no other
// browser is at work. Browsers start one at a time for each core of that half. Memory is reserved likewise: what earlier runs used at
// most and 30 %, or 600 MiB. HTTP runs count a tenth of a core each; they share another quarter of the cores and wait for each other
// only, so that neither does a storm of them slow a browser run by more than that, nor do they queue behind a page that takes seconds.
//
// Who came first is served first, among browser runs whatever they need: none is overtaken for ever. A browser that is up before its
// run is due rests: it keeps its memory and gives its share of the cores back until its slot. Then it comes before those that have no
// browser yet, and shortly before none of those is admitted that would be in its way.
package admission
