package browser

import (
	"testing"

	"lastmile/internal/scenario"
	"lastmile/internal/vars"
)

func TestParsePart(t *testing.T) {
	for text, want := range map[string]part{
		"#a > b":                          {Kind: "css", Text: "#a > b"},
		"css/#a":                          {Kind: "css", Text: "#a"},
		"text/Buy /now":                   {Kind: "text", Text: "Buy /now"},
		"xpath///*[@id='x']":              {Kind: "xpath", Text: "//*[@id='x']"},
		"pierce/.x":                       {Kind: "pierce", Text: ".x"},
		"aria/Sign  in":                   {Kind: "aria", Text: "Sign in"},
		`aria/Sign in[role="button"]`:     {Kind: "aria", Text: "Sign in", role: "button"},
		`aria/[role='button']`:            {Kind: "aria", role: "button"},
		`aria/[name="A b"][role="link"]`:  {Kind: "aria", Text: "A b", role: "link"},
		`aria/List [1] [colour="red"] it`: {Kind: "aria", Text: `List [1] [colour="red"] it`},
	} {
		if got := parsePart(text); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestLookupOrder(t *testing.T) {
	scope := vars.NewScope(map[string]string{"vars.id": "x"}, nil)
	l, err := newLookup(scenario.Selectors{{"aria/A"}, {"text/B"}, {"#c", "text/D"}, {"xpath///e"}, {"#${vars.id}"}}, scope)
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for _, a := range append(l.cheap, l.aria...) {
		order = append(order, a.Index)
	}
	if want := [...]int{4, 3, 1, 2, 0}; len(order) != 5 || [5]int(order) != want {
		t.Errorf("order of the alternatives: got %v, want %v", order, want)
	}
	if want := "any of aria/A | text/B | #c >>> text/D | xpath///e | #x"; l.String() != want {
		t.Errorf("name: got %s, want %s", l, want)
	}
}
