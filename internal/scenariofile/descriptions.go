package scenariofile

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// descriptionsJSON says what each key means, by Go type and key. Editors show the sentences to people who write scenarios; a test
// holds them against the types.
//
//go:embed descriptions.json
var descriptionsJSON []byte

// descriptions reads the sentences.
func descriptions() (map[string]string, error) {
	var all map[string]string
	if err := json.Unmarshal(descriptionsJSON, &all); err != nil {
		return nil, fmt.Errorf("read descriptions: %w", err)
	}
	return all, nil
}
