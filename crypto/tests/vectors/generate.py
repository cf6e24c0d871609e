#!/usr/bin/env python3
"""Writes modp.json, ikev2.json and ppk.json: values that another implementation computed.

The modular powers are Python's pow(), checked against OpenSSL where the `cryptography` package is installed; the primes
are recomputed here from pi by the formulas of RFC 2409 and RFC 3526. The key schedule is written out again from the
text of RFC 7296 and RFC 8784, on Python's hmac module. The inputs come from a seeded generator, so a second run writes the same
files.
"""

import hashlib
import hmac
import json
import pathlib
import random

HERE = pathlib.Path(__file__).parent
RNG = random.Random(7296)

# Group ID, bits, the constant c of the prime's formula, octets of our private values.
GROUPS = [
    (2, 1024, 129093, 32),
    (5, 1536, 741804, 32),
    (14, 2048, 124476, 40),
    (15, 3072, 1690314, 56),
    (16, 4096, 240904, 64),
]


def pi_bits(bits):
    """floor(2^bits * pi), by Machin's formula."""
    guard = bits + 64

    def arctan_of_inverse(n):
        term = total = (1 << guard) // n
        k, sign = 1, 1
        while term:
            term //= n * n
            k, sign = k + 2, -sign
            total += sign * (term // k)
        return total

    return (4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))) >> 64


def prime(bits, c):
    return 2**bits - 2 ** (bits - 64) - 1 + 2**64 * (pi_bits(bits - 130) + c)


def octets(n):
    return RNG.randbytes(n)


def private(length):
    """A private value with its top bit set, as ours are."""
    value = bytearray(octets(length))
    value[0] |= 0x80
    return bytes(value)


def openssl_shared(p, x, peer):
    try:
        from cryptography.hazmat.primitives.asymmetric import dh
    except ImportError:
        return None
    params = dh.DHParameterNumbers(p, 2)
    ours = dh.DHPrivateNumbers(x, dh.DHPublicNumbers(pow(2, x, p), params)).private_key()
    return ours.exchange(dh.DHPublicNumbers(peer, params).public_key())


def modp_case(group, bits, c, length, leading_zero):
    p, size = prime(bits, c), bits // 8
    while True:
        x, y = private(length), private(length)
        peer = pow(2, int.from_bytes(y, "big"), p)
        shared = pow(peer, int.from_bytes(x, "big"), p)
        # One case in each group has a shared secret with a leading zero octet, which must be kept.
        if not leading_zero or shared >> (bits - 8) == 0:
            break
    checked = openssl_shared(p, int.from_bytes(x, "big"), peer)
    assert checked in (None, shared.to_bytes(size, "big"))
    return {
        "group": group,
        "private": x.hex(),
        "public": pow(2, int.from_bytes(x, "big"), p).to_bytes(size, "big").hex(),
        "peer": peer.to_bytes(size, "big").hex(),
        "shared": shared.to_bytes(size, "big").hex(),
    }


def modp():
    return {
        "primes": {str(g): "%x" % prime(bits, c) for g, bits, c, _ in GROUPS},
        "cases": [modp_case(*group, zero) for group in GROUPS for zero in (False, True)],
    }


def prf_plus(digest, key, seed, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(key, block + seed + bytes([counter]), digest).digest()
        out += block
        counter += 1
    return out[:length]


def cut(stream, lengths):
    keys, at = {}, 0
    for name, length in lengths:
        keys[name] = stream[at : at + length].hex()
        at += length
    assert at == len(stream)
    return keys


def sk_keys(digest, skeyseed, ni, nr, spi_i, spi_r, key, integrity):
    p = hashlib.new(digest).digest_size
    lengths = [("d", p), ("ai", integrity), ("ar", integrity), ("ei", key), ("er", key), ("pi", p), ("pr", p)]
    return cut(prf_plus(digest, skeyseed, ni + nr + spi_i + spi_r, sum(n for _, n in lengths)), lengths)


def child_keys(digest, d, shared, ni, nr, key, integrity):
    lengths = [("ei", key), ("ai", integrity), ("er", key), ("ar", integrity)]
    return cut(prf_plus(digest, d, shared + ni + nr, sum(n for _, n in lengths)), lengths)


def ikev2_case(prf, digest, next_prf, next_digest, suite, key, integrity):
    ni, nr, spi_i, spi_r, shared = octets(32), octets(32), octets(8), octets(8), octets(256)
    ni2, nr2, spi_i2, spi_r2, shared2 = octets(16), octets(64), octets(8), octets(8), octets(48)
    skeyseed = hmac.new(ni + nr, shared, digest).digest()
    initial = sk_keys(digest, skeyseed, ni, nr, spi_i, spi_r, key, integrity)
    d = bytes.fromhex(initial["d"])
    again = hmac.new(d, shared2 + ni2 + nr2, digest).digest()
    psk, message, nonce, identity = octets(24), octets(500), octets(32), octets(12)
    maced_id = hmac.new(bytes.fromhex(initial["pi"]), identity, digest).digest()
    pad = hmac.new(psk, b"Key Pad for IKEv2", digest).digest()
    return {
        "prf": prf,
        "next_prf": next_prf,
        "suite": suite,
        "ni": ni.hex(),
        "nr": nr.hex(),
        "spi_i": spi_i.hex(),
        "spi_r": spi_r.hex(),
        "shared": shared.hex(),
        "initial": initial,
        "next_ni": ni2.hex(),
        "next_nr": nr2.hex(),
        "next_spi_i": spi_i2.hex(),
        "next_spi_r": spi_r2.hex(),
        "next_shared": shared2.hex(),
        "rekeyed": sk_keys(next_digest, again, ni2, nr2, spi_i2, spi_r2, key, integrity),
        "child": child_keys(digest, d, b"", ni, nr, key, integrity),
        "child_pfs": child_keys(digest, d, shared2, ni2, nr2, key, integrity),
        "psk": psk.hex(),
        "message": message.hex(),
        "nonce": nonce.hex(),
        "id": identity.hex(),
        "auth": hmac.new(pad, message + nonce + maced_id, digest).digest().hex(),
    }


def ikev2():
    digests = [("prfsha1", "sha1"), ("prfsha256", "sha256"), ("prfsha384", "sha384"), ("prfsha512", "sha512")]
    suites = [
        ("aes256-sha1", 32, 20),
        ("aes128-sha256", 16, 32),
        ("aes256gcm16", 36, 0),
        ("chacha20poly1305", 36, 0),
        ("aes192-sha384", 24, 48),
        ("aes256-sha512", 32, 64),
        ("aes128gcm16", 20, 0),
        ("aes192gcm16", 28, 0),
    ]
    cases = []
    for i, suite in enumerate(suites):
        # The PRF may change when an IKE SA is rekeyed: SKEYSEED then takes the old one.
        old, new = digests[i % 4], digests[(i + i // 4) % 4]
        cases.append(ikev2_case(*old, *new, *suite))
    return {"cases": cases}


def ppk_case(rng, prf, digest, suite, key, integrity):
    """RFC 8784 section 3: the keys of an IKE SA, its AUTH with and without the PPK, its first child and its successor."""
    ni, nr, spi_i, spi_r, shared = (rng.randbytes(n) for n in (32, 32, 8, 8, 32))
    ppk, psk, message, identity = (rng.randbytes(n) for n in (32, 24, 300, 12))
    ni2, nr2, spi_i2, spi_r2, shared2 = (rng.randbytes(n) for n in (32, 32, 8, 8, 32))
    skeyseed = hmac.new(ni + nr, shared, digest).digest()
    plain = sk_keys(digest, skeyseed, ni, nr, spi_i, spi_r, key, integrity)
    size = hashlib.new(digest).digest_size
    mixed = {name: prf_plus(digest, ppk, bytes.fromhex(plain[name]), size).hex() for name in ("d", "pi", "pr")}
    pad = hmac.new(psk, b"Key Pad for IKEv2", digest).digest()

    def auth(sk_p):
        maced_id = hmac.new(bytes.fromhex(sk_p), identity, digest).digest()
        return hmac.new(pad, message + nr + maced_id, digest).digest().hex()

    d = bytes.fromhex(mixed["d"])
    again = hmac.new(d, shared2 + ni2 + nr2, digest).digest()
    return {
        "prf": prf,
        "suite": suite,
        "ni": ni.hex(),
        "nr": nr.hex(),
        "spi_i": spi_i.hex(),
        "spi_r": spi_r.hex(),
        "shared": shared.hex(),
        "ppk": ppk.hex(),
        "plain": plain,
        "mixed": mixed,
        "psk": psk.hex(),
        "message": message.hex(),
        "id": identity.hex(),
        "no_ppk_auth": auth(plain["pi"]),
        "auth": auth(mixed["pi"]),
        "child": child_keys(digest, d, b"", ni, nr, key, integrity),
        "next_ni": ni2.hex(),
        "next_nr": nr2.hex(),
        "next_spi_i": spi_i2.hex(),
        "next_spi_r": spi_r2.hex(),
        "next_shared": shared2.hex(),
        "rekeyed": sk_keys(digest, again, ni2, nr2, spi_i2, spi_r2, key, integrity),
    }


def ppk():
    rng = random.Random(8784)
    return {
        "cases": [
            ppk_case(rng, "prfsha1", "sha1", "aes256-sha1", 32, 20),
            ppk_case(rng, "prfsha256", "sha256", "aes128gcm16", 20, 0),
            ppk_case(rng, "prfsha384", "sha384", "aes256gcm16", 36, 0),
            ppk_case(rng, "prfsha512", "sha512", "aes256-sha512", 32, 64),
        ]
    }


for name, value in (("modp.json", modp()), ("ikev2.json", ikev2()), ("ppk.json", ppk())):
    (HERE / name).write_text(json.dumps(value, indent=1) + "\n")
