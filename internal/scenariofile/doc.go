// Package scenariofile reads scenario files: YAML into scenario.Scenario, strictly, with every error at once and each with its
// file, line and column; the directory of scenarios with the fleet's regions; and it writes the JSON Schema that editors use.
//
// Files are untrusted input: their size, their number of tokens and their depth are bounded, anchors and aliases are refused,
// and nothing in them makes the package panic.
package scenariofile
