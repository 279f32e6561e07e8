package scenariofile

import "maps"

// descriptions says what each key means, by Go type and key. Editors show them, so they are complete sentences for people who
// write scenarios; a test holds them against the types.
func descriptions() map[string]string {
	all := scenarioDescriptions()
	maps.Copy(all, stepDescriptions())
	maps.Copy(all, partDescriptions())
	return all
}

// scenarioDescriptions are of the scenario and its parts other than steps.
func scenarioDescriptions() map[string]string {
	return map[string]string{
		"Scenario.apiVersion":  "The version of the format: lastmile/v1.",
		"Scenario.scenario":    "The scenario's name, a DNS label that no other scenario has.",
		"Scenario.kind":        "What the scenario is: journey, a list of steps run in order, which is the default.",
		"Scenario.description": "What the journey does, for people.",
		"Scenario.owner":       "The team that is told when the journey breaks.",
		"Scenario.runbook":     "The URL of the page that says what to do when the journey breaks.",
		"Scenario.schedule":    "When it runs: @every 1m, @hourly, or a five-field cron expression, with CRON_TZ=Zone before it if need be.",
		"Scenario.timeout":     "How long one run may take, from 1s to 10m and at most the schedule's period.",
		"Scenario.regions":     "The probe regions in which it runs, or all.",
		"Scenario.networks":    "The access networks on which it runs, names of presets such as 3g; none, the default, is the probe's own network.",
		"Scenario.engine":      "The Chromium build: shell (headless shell, half the CPU, the default) or full.",
		"Scenario.device":      "The device that browser steps emulate.",
		"Scenario.vars":        "Values that steps use as ${vars.name}.",
		"Scenario.regionVars":  "Other values of vars for single regions: region, then name and value.",
		"Scenario.secrets":     "Names of secrets that steps use as ${secrets.NAME}; their values exist on probes only.",
		"Scenario.allowHosts":  "The hosts that the journey may talk to; *.example.com stands for every name below. Without the list it may talk to any.",
		"Scenario.steps":       "What the user does, in order. A failed step ends the run, except for steps marked always.",
		"Scenario.routing":     "Which region ought to serve each probe region.",
		"Scenario.slos":        "The service level objectives of the journey.",
		"Scenario.alerts":      "How the journey pages.",

		"Routing.header": "The response header in which the backend names the region that served.",
		"Routing.expect": "From probe region to the region that ought to serve it; a region not listed is served by itself.",

		"SLO.name":      "The objective's name, a DNS label that no other objective of the scenario has.",
		"SLO.sli":       "What is counted: availability (the default), latency, cache-hit or routing.",
		"SLO.objective": "The share of slots that must be good, such as 99.9%.",
		"SLO.window":    "The time over which the objective holds, such as 30d.",
		"SLO.step":      "For latency: the id of the step that counts; without it the whole run does.",
		"SLO.threshold": "For latency: slower than this is bad.",
		"SLO.match":     "For cache-hit: glob over the URLs of the responses that count; without it all do.",

		"Alerts.critical": "Whether a breach pages at any hour.",
	}
}

// stepDescriptions are of the keys of a step.
func stepDescriptions() map[string]string {
	return map[string]string{
		"Step.id":                "The step's name, a DNS label; objectives and reports refer to it. Without it the step's position counts.",
		"Step.type":              "What the step does.",
		"Step.timeout":           "How long the step may take; 5s for browser steps and 10s for http if not set.",
		"Step.assert":            "What must be true after the step. A failed assertion fails the run.",
		"Step.extract":           "Values to take out of the page or response, for later steps to use as ${name}.",
		"Step.budget":            "What the step may cost. A breach degrades the run and does not fail it.",
		"Step.always":            "Runs also after an earlier step failed: for cleaning up.",
		"Step.optional":          "Its failure does not fail the run.",
		"Step.url":               "The URL to load or request; ${...} is replaced.",
		"Step.assertedEvents":    "Events that the step must cause, in the form of Chrome DevTools Recorder.",
		"Step.selectors":         "The element, as alternatives that are tried in order; each is a selector (CSS, aria/, text/, xpath/, pierce/) or a chain through shadow roots.",
		"Step.offsetX":           "Where to click, in CSS pixels from the element's left edge; its centre if not set.",
		"Step.offsetY":           "Where to click, in CSS pixels from the element's upper edge; its centre if not set.",
		"Step.value":             "What to type or choose; ${...} is replaced.",
		"Step.operator":          "How the number of matching elements compares with count; >= if not set.",
		"Step.count":             "How many elements to wait for; 1 if not set.",
		"Step.visible":           "Whether the elements must be visible (true) or hidden (false); either if not set.",
		"Step.width":             "The viewport's width in CSS pixels.",
		"Step.height":            "The viewport's height in CSS pixels.",
		"Step.deviceScaleFactor": "Device pixels per CSS pixel.",
		"Step.isMobile":          "Whether the page's viewport meta tag counts, as on phones.",
		"Step.hasTouch":          "Whether the device has a touch screen.",
		"Step.isLandscape":       "Whether the device is held in landscape.",
		"Step.method":            "The request method; GET if not set.",
		"Step.headers":           "Request headers; ${...} is replaced in their values.",
		"Step.body":              "The request body as it is; at most one of body, json and form.",
		"Step.json":              "The request body as JSON, with its content type; ${...} is replaced in its strings.",
		"Step.form":              "The request body as form fields, with its content type; ${...} is replaced in their values.",
		"Step.followRedirects":   "Whether redirects are followed; true if not set.",
		"Step.poll":              "Repeats the request until its assertions hold. The step's duration is the time until they did.",
	}
}

// partDescriptions are of the parts of a step.
func partDescriptions() map[string]string {
	return map[string]string{
		"Poll.every": "The time between two requests.",
		"Poll.for":   "How long to go on before the step fails; longer than every.",

		"AssertedEvent.type":  "The event: navigation.",
		"AssertedEvent.url":   "Glob over the URL that the page must go to; any if not set.",
		"AssertedEvent.title": "The page's title as it was recorded; it is kept and not checked.",

		"Budget.duration": "How long the step may take before the run counts as degraded.",
		"Budget.lcp":      "How late the page's largest contentful paint may be.",
		"Budget.bytes":    "How much data the step may load, such as 200kB or 1MB.",

		"Extractor.selector": "On browser steps: the element whose text, or value if it is an input, is taken.",
		"Extractor.json":     "On http steps: a JSONPath (RFC 9535) into the response body.",
		"Extractor.header":   "On http steps: the response header that is taken.",
		"Extractor.regex":    "A regular expression (RE2) over what was taken, or over the body; its first group is the value, or the whole match.",

		"Assertion.status":   "The response's status: a code such as 204, a class such as 2xx, or a list of them.",
		"Assertion.header":   "A response header that must be there, or compare as equals, contains or matches say.",
		"Assertion.json":     "A JSONPath (RFC 9535) into the body that must find something, or compare as equals, contains or matches say.",
		"Assertion.body":     "Text that the response body must contain.",
		"Assertion.cache":    "The CDN cache states, of which the response must have one.",
		"Assertion.title":    "Glob over the page's title.",
		"Assertion.url":      "Glob over the page's URL.",
		"Assertion.visible":  "A selector that must match at least one visible element.",
		"Assertion.hidden":   "A selector that must match no visible element.",
		"Assertion.equals":   "With header or json: the value that it must be.",
		"Assertion.contains": "With header or json: text that the value must contain.",
		"Assertion.matches":  "With header or json: a regular expression (RE2) that the value must match.",
		"Assertion.not":      "Turns the assertion around.",
	}
}
