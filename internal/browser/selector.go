package browser

import (
	"regexp"
	"slices"
	"strings"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

// part is one selector of a chain. The JSON form is what find.js reads; kind aria is looked up by the accessibility tree instead.
type part struct {
	Kind string `json:"kind"` // css, pierce, xpath, text, aria
	Text string `json:"text"` // aria: the accessible name
	role string
}

// alternative is one chain of a step's selectors, with its place among them.
type alternative struct {
	Index int    `json:"index"`
	Chain []part `json:"chain"`
}

// lookup is a step's selectors, split by what they cost.
type lookup struct {
	texts []string      // as written, for messages and for Step.Selector
	cheap []alternative // run in the page; tried first, fastest kind first
	aria  []alternative // ask the accessibility tree, which costs 16 ms at best; tried when no cheap one matches
}

// rank orders the kinds by how long they take on a large page.
func (p part) rank() int {
	switch p.Kind {
	case "css":
		return 0
	case "xpath":
		return 1
	case "pierce":
		return 2
	}
	return 3
}

// rank is that of the slowest part.
func (a alternative) rank() int {
	rank := 0
	for _, p := range a.Chain {
		rank = max(rank, p.rank())
	}
	return rank
}

func newLookup(selectors scenario.Selectors, scope *vars.Scope) (*lookup, error) {
	l := &lookup{}
	for i, chain := range selectors {
		a := alternative{Index: i}
		var texts []string
		slow := false
		for _, template := range chain {
			text, err := scope.Expand(template)
			if err != nil {
				return nil, err
			}
			p := parsePart(text)
			slow = slow || p.Kind == "aria"
			a.Chain = append(a.Chain, p)
			texts = append(texts, text)
		}
		l.texts = append(l.texts, strings.Join(texts, " >>> "))
		if slow {
			l.aria = append(l.aria, a)
		} else {
			l.cheap = append(l.cheap, a)
		}
	}
	slices.SortStableFunc(l.cheap, func(a, b alternative) int { return a.rank() - b.rank() })
	return l, nil
}

// String names the selectors for a message.
func (l *lookup) String() string {
	if len(l.texts) == 1 {
		return l.texts[0]
	}
	return "any of " + strings.Join(l.texts, " | ")
}

// ariaAttribute matches the [role="button"] of Recorder's aria/ selectors.
var ariaAttribute = regexp.MustCompile(`\[\s*(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')\s*\]`)

// parsePart reads a selector in Recorder's form. Without a known prefix it is CSS.
func parsePart(text string) part {
	for _, kind := range []string{"css", "pierce", "xpath", "text"} {
		if rest, ok := strings.CutPrefix(text, kind+"/"); ok {
			return part{Kind: kind, Text: rest}
		}
	}
	rest, ok := strings.CutPrefix(text, "aria/")
	if !ok {
		return part{Kind: "css", Text: text}
	}
	p := part{Kind: "aria"}
	name := ariaAttribute.ReplaceAllStringFunc(rest, func(found string) string {
		groups := ariaAttribute.FindStringSubmatch(found)
		switch value := groups[2] + groups[3]; groups[1] {
		case "role":
			p.role = value
		case "name":
			p.Text = value
		default:
			return found
		}
		return ""
	})
	if name = strings.Join(strings.Fields(name), " "); name != "" {
		p.Text = name
	}
	return p
}
