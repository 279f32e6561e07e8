// Package scenario defines a user journey as its authors mean it: the steps, their assertions and budgets, the schedule and
// its slots, the regions and networks it runs in, its objectives. Package rules checks that all of that makes sense together.
//
// The package is pure: it reads no file and no clock. Package scenariofile decodes YAML into these types, and the JSON form
// of the same types travels on the bus inside an assignment, so the field tags here are the one contract for both.
package scenario
