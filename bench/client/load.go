package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kms "k8s.io/kms/apis/v2"
)

// As long as the seeds of the API server.
const seedLength = 32

// What a load brought; durations in milliseconds.
type loadOutcome struct {
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50Ms"`
	P99     float64 `json:"p99Ms"`
	Most    float64 `json:"mostMs"`
}

// load calls one method for a time, or a number of times, with a fixed number of calls in flight. An answer that is wrong ends it.
func load(wanted job) (*loadOutcome, error) {
	connection, client, err := connect(wanted.Socket)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	call, err := callOf(wanted.Method, client)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(time.Duration(wanted.Seconds * float64(time.Second)))
	var begun atomic.Int64
	return inFlight(wanted.InFlight, func(int) (bool, error) {
		if wanted.Calls > 0 {
			if begun.Add(1) > int64(wanted.Calls) {
				return false, nil
			}
		} else if time.Now().After(deadline) {
			return false, nil
		}
		return true, call()
	})
}

// inFlight has `width` goroutines call `next` until it says false or fails, and times each call.
func inFlight(width int, next func(worker int) (bool, error)) (*loadOutcome, error) {
	took := make([][]time.Duration, width)
	failures := make([]error, width)
	var stop atomic.Bool
	var all sync.WaitGroup
	began := time.Now()
	for worker := range width {
		all.Go(func() {
			for !stop.Load() {
				start := time.Now()
				more, err := next(worker)
				if err != nil {
					failures[worker] = err
					stop.Store(true)
					return
				}
				if !more {
					return
				}
				took[worker] = append(took[worker], time.Since(start))
			}
		})
	}
	all.Wait()
	seconds := time.Since(began).Seconds()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	sorted := slices.Concat(took...)
	if len(sorted) == 0 {
		return nil, fmt.Errorf("no call was made")
	}
	slices.Sort(sorted)
	return &loadOutcome{
		Calls:   len(sorted),
		Seconds: seconds,
		P50:     milliseconds(sorted[len(sorted)/2]),
		P99:     milliseconds(sorted[len(sorted)*99/100]),
		Most:    milliseconds(sorted[len(sorted)-1]),
	}, nil
}

// callOf is one call of a method, its answer checked. Decrypt is of one seed that the plugin has sealed, and so has its local key.
func callOf(method string, client kms.KeyManagementServiceClient) (func() error, error) {
	switch method {
	case "Status":
		return func() error {
			_, err := goodStatus(client)
			return err
		}, nil
	case "Encrypt":
		seed := newSeed()
		return func() error {
			answer, err := encrypt(client, seed)
			if err == nil && (len(answer.Ciphertext) < seedLength || answer.KeyId == "") {
				err = fmt.Errorf("Encrypt answered %d bytes under key id %q", len(answer.Ciphertext), answer.KeyId)
			}
			return err
		}, nil
	case "Decrypt":
		seed := newSeed()
		sealed, err := encrypt(client, seed)
		if err != nil {
			return nil, err
		}
		request := &kms.DecryptRequest{
			Ciphertext: sealed.Ciphertext, Uid: uid, KeyId: sealed.KeyId, Annotations: sealed.Annotations,
		}
		return func() error { return decrypt(client, request, seed, callTimeout) }, nil
	}
	return nil, fmt.Errorf("no method is called %q", method)
}

// As long as the API server's, which makes a new one for each call.
const uid = "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"

func newSeed() []byte {
	seed := make([]byte, seedLength)
	rand.Read(seed)
	return seed
}

func encrypt(client kms.KeyManagementServiceClient, seed []byte) (*kms.EncryptResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return client.Encrypt(ctx, &kms.EncryptRequest{Plaintext: seed, Uid: uid})
}

func decrypt(
	client kms.KeyManagementServiceClient, request *kms.DecryptRequest, seed []byte, timeout time.Duration,
) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer, err := client.Decrypt(ctx, request)
	if err == nil && !bytes.Equal(answer.Plaintext, seed) {
		err = fmt.Errorf("a seed came back as another")
	}
	return err
}

func goodStatus(client kms.KeyManagementServiceClient) (*kms.StatusResponse, error) {
	answer, err := status(client)
	if err == nil && answer.Healthz != "ok" {
		err = fmt.Errorf("Status says %q", answer.Healthz)
	}
	return answer, err
}

func milliseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Millisecond)
}
