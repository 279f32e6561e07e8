// Package scenariofile reads scenario files: YAML into scenario.Scenario, strictly, with every error at once and each with its
// file, line and column; the directory of scenarios with the fleet's regions and the user's own networks; and it writes the JSON
// Schema that editors use. It writes such files too, and its part recording turns the recordings of Chrome DevTools Recorder into scenarios
// and back.
//
// Files are untrusted input: package document, which reads them, bounds what they can cost.
package scenariofile
