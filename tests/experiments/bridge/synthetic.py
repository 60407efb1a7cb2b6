"""The summary of a study of the text bridge as a run might leave it, made up."""

import numpy as np

COLOURS, SHAPES = ("red", "green", "blue", "yellow", "purple", "white"), ("circle", "square", "ring", "cross")
H = {"train": 6.71, "test": 6.52}  # nats a text
LENGTH = 8.2  # tokens a text


def told(value, error=0.02, n=512):
    return {"value": round(float(value), 5), "error": round(float(error), 5), "n": n}


def share(value, n=512):
    return told(value, np.sqrt(value * (1 - value) / n), n)


def around(lower, upper, error=0.03):
    return {"lower": told(lower, error), "upper": told(upper, error)}


def sentences(rng, count):
    forms = ("is this a {0} {1} ?", "go to the {0} {1} , then press it", "the {0} one is left of the {1}")
    return [str(rng.choice(forms)).format(rng.choice(COLOURS), rng.choice(SHAPES)) for _ in range(count)]


def spoilt(rng, sentence):
    words = sentence.split()
    words[rng.integers(len(words))] = str(rng.choice(COLOURS + SHAPES))
    return " ".join(words)


def make_models(rng):
    figures = {  # parameters, FLOPs a token, tokens/s of training and generation, nats train and test, valid
        "latent": (412_000, 4.9e6, 61_000, 21_500, 8.61, 8.94, 0.968),
        "autoregressive": (398_000, 2.4e6, 148_000, 9_800, 6.95, 7.21, 0.997),
        "masked": (401_000, 2.4e6, 139_000, 14_200, 7.48, 7.86, 0.941),
    }
    models = []
    for name, (parameters, flops, training, generation, train, test, valid) in figures.items():
        texts = [{"text": text, "valid": True} for text in sentences(rng, 10)]
        texts[3] = {"text": spoilt(rng, texts[3]["text"]), "valid": name == "autoregressive"}
        nats = {"train": told(train, 0.04), "test": told(test, 0.05)}
        jump = (0.004, 0.0011, 0.006)[len(models)]
        models.append(
            {
                **{"name": name, "parameters": parameters, "training_flops_per_token": flops},
                **{"training_flops": flops * 9.8e6, "kind": "exact" if name == "autoregressive" else "at most"},
                "tokens_per_second": {"training": training, "generation": generation},
                "nats": nats,
                "perplexity": {key: told(np.exp(x["value"] / LENGTH), 0.02) for key, x in nats.items()},
                "generation": {
                    **{"n": 512, "valid": share(valid), "novel": share(0.31), "distinct": {"1": 0.021, "2": 0.131}},
                    "distances": {
                        str(n): {"divergence": 0.002 * n**2 + jump * n, "floor": 0.002 * n**2} for n in (1, 2, 3)
                    },
                },
                "samples": texts,
            }
        )
    return models


def make_curves():
    rates = []
    for latent in (2, 4, 8):
        for kl in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
            h = H["test"] / LENGTH
            information = h * (1 - np.exp(-0.35 * latent**0.5 / (kl + 0.02) ** 0.55 / 2))
            distortion = h - information + 0.06 * (1 + information / h) * np.exp(-1 / latent) * kl**0.3
            rates.append(
                {
                    **{"kl": kl, "latent": latent, "rate": told(1.7 * information + 0.1), "accuracy": share(0.97)},
                    "information": around(information * 0.96, information * 1.05, 0.004),
                    "distortion": told(distortion, 0.004),
                }
            )
    prior = []
    for width, parameters in ((32, 21_000), (64, 83_000), (128, 330_000)):
        points = []
        for step in (100, 200, 400, 800, 1600):
            matching = 1.1 + 9.0 * (step / 100) ** -0.62 * (width / 32) ** -0.21
            row = {"step": step, "flops": 6.0 * parameters * 8192 * step, "flow": 0.6 + 0.1 / step}
            points.append({**row, "matching": around(matching - 0.35, matching + 0.2)})
        prior.append({"width": width, "parameters": parameters, "points": points})
    ks = [1, 2, 4, 8, 16, 32, 64]
    gap = {
        **{"ks": ks, "values": [told(0.41 * (1 - k**-0.55), 0.012 * (k > 1)) for k in ks], "k": 64},
        **{"total": told(0.369, 0.012), "amortisation": told(0.118, 0.015), "family": told(0.251, 0.017)},
    }
    return {"rate_distortion": rates, "prior": prior, "gap": gap}


def make_scaling():
    rows = []
    for family, start, floor in (("latent", 0.62, 0.95), ("autoregressive", 0.2, 0.86), ("masked", 0.35, 0.9)):
        for i, width in enumerate((32, 64, 96, 128)):
            flops = (1.5 if family == "latent" else 1.0) * 2e11 * (width / 32) ** 1.8
            figures = {
                "nats": told(floor + start * 0.55**i, 0.006),
                "valid": share(1 - 0.25 * (start + 0.02) * 0.45**i),
            }
            size = {"family": family, "width": width, "parameters": 400 * width**2}
            rows.append({**size, "flops": flops / 2, "nats": told(floor + start * 0.62**i, 0.006)})
            rows.append({**size, "flops": flops, **figures})
    return rows


def make_pictures(rng):
    examples = []
    for text in sentences(rng, 4):
        image = np.full((24, 24, 3), 40)
        image[8:16, 8:16] = rng.integers(60, 255, 3)
        noisy = np.clip(image + rng.integers(-15, 15, image.shape), 0, 255)
        texts = {"text": text, "decoded_text": text}
        examples.append({**texts, "image": image.tolist(), "decoded_image": noisy.tolist()})
    return {"world": "match", "text_accuracy": share(0.993, 4096), "psnr": told(27.4, 0.3), "examples": examples}


def make_summary():
    """What a study of some minutes leaves."""
    rng = np.random.default_rng(0)
    texts = sentences(rng, 8)
    accuracy = {"train": share(0.9991, 4096), "test": share(0.9983, 4096)}
    noised = [[t, 0.998 / (1 + np.exp(22 * (t - 0.52)))] for t in np.linspace(0, 1, 11).round(2)]
    prefix = "go to the"
    return {
        "corpus": {
            **{"name": "worlds", "tokens": "words", "V": 117, "train": 41_203, "test": 4_578, "length": 16},
            **{"entropy": H, "tokens_per_text": {"train": 8.3, "test": LENGTH}},
        },
        "command": "python experiments/run.py study=bridge corpus=worlds",
        "seconds": 541.3,
        "versions": {"python": "3.12.3", "torch": "2.6.0"},
        "hardware": {"cpu": "a processor", "cores": 4},
        "config": {"study": "bridge", "corpus": "worlds", "vae": {"latent": 8, "kl": 0.01}, "prior": {"width": 128}},
        "models": make_models(rng),
        "guidance": [{"guidance": s, "valid": share(v), "novel": share(0.3)} for s, v in ((1, 0.968), (2, 0.985))],
        "reconstruction": {
            **{"accuracy": accuracy, "noised": noised},
            "examples": [[text, text if i != 2 else spoilt(rng, text)] for i, text in enumerate(texts)],
        },
        "completions": [
            {"prefix": prefix, "latent": f"{prefix} red ring , then press it", "autoregressive": f"{prefix} blue cross"}
            | {"masked": {"text": f"{prefix} red red , press", "valid": False}},
            dict.fromkeys(("latent", "autoregressive", "masked"), "red circle ?") | {"prefix": "is this a"},
        ],
        "split": {
            key: {
                **{"elbo": told(-whole, 0.05), "realisation": told(-0.08, 0.01), "rate": told(whole - 0.08, 0.05)},
                **{"information": around(6.1, 6.6), "matching": around(whole - 6.68, whole - 6.18)},
            }
            for key, whole in (("train", 8.97), ("test", 9.31))
        },
        "curves": make_curves(),
        "scaling": make_scaling(),
        "speaker": [
            {
                "head": head,
                "parameters": 52_000,
                "success": share(success, 1000),
                "consistent": share(success + 0.01, 1000),
            }
            | {"nats": told(nats, 0.01), "steps": 200_000}
            for head, success, nats in (
                ("latent", 0.941, 0.71),
                ("autoregressive", 0.953, 0.70),
                ("words", 0.497, 1.39),
            )
        ],
        "modalities": make_pictures(rng),
    }
