package main

import (
	"encoding/json"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"
	kms "k8s.io/kms/apis/v2"
)

// A KMS that is far away may take longer than an API server waits; how long is what is measured.
const patience = 60 * time.Second

// A seed and the DecryptRequest that must bring it back, as protobuf; both are base64 in the file.
type sealedSeed struct {
	Seed    []byte `json:"seed"`
	Request []byte `json:"request"`
}

// decryptSeeds opens each seed of a file once, in its order.
func decryptSeeds(wanted job) (*loadOutcome, error) {
	content, err := os.ReadFile(wanted.Seeds)
	if err != nil {
		return nil, err
	}
	var seeds []sealedSeed
	if err := json.Unmarshal(content, &seeds); err != nil {
		return nil, err
	}
	requests := make([]kms.DecryptRequest, len(seeds))
	for index := range seeds {
		if err := proto.Unmarshal(seeds[index].Request, &requests[index]); err != nil {
			return nil, err
		}
	}
	connection, client, err := connect(wanted.Socket)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	var begun atomic.Int64
	return inFlight(wanted.InFlight, func(int) (bool, error) {
		index := begun.Add(1) - 1
		if index >= int64(len(seeds)) {
			return false, nil
		}
		return true, decrypt(client, &requests[index], seeds[index].Seed, patience)
	})
}
