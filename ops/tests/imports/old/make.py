"""Makes the pickles and the old answers beside it, with the scikit-learn that is installed:

python3.11 -m venv /tmp/old && /tmp/old/bin/pip install scikit-learn==1.2.2 'numpy<2' pandas==2.0.3
/tmp/old/bin/python ops/tests/imports/old/make.py
"""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HERE = Path(__file__).parent
generator = np.random.default_rng(12)
rows = pd.DataFrame(generator.normal(size=(240, 4)).round(3), columns=list("abcd"))
score = rows["a"] + rows["b"] ** 2 - 1 + generator.normal(0, 0.5, 240)
two = (score > 0).astype(int)
three = np.array(["low", "middle", "high"])[np.digitize(score, [-0.7, 0.5])]
raw = rows.assign(a=generator.choice(["x", "y", "z"], 240))
columns = ColumnTransformer(
    [
        ("text", OneHotEncoder(handle_unknown="ignore"), ["a"]),
        ("rest", StandardScaler(), ["b", "c", "d"]),
    ]
)
models = {
    "binary": (LogisticRegression(), rows, two),
    "one-vs-rest": (LogisticRegression(multi_class="ovr"), rows, three),
    "liblinear": (
        make_pipeline(StandardScaler(), LogisticRegression(solver="liblinear")),
        rows,
        three,
    ),
    "multinomial": (LogisticRegression(), rows, three),
    "doubled": (LogisticRegression(multi_class="multinomial"), rows, two),
    "ridge": (Ridge(), rows, score),
    "raw-columns": (make_pipeline(columns, LogisticRegression()), raw, two),
    "forest": (RandomForestClassifier(3, max_depth=3, random_state=0), rows, two),
}
rows.to_csv(HERE / "rows.csv", index=False)
raw.to_csv(HERE / "raw.csv", index=False)
for name, (estimator, x, y) in models.items():
    fitted = estimator.fit(x, y)
    answers = {"label": fitted.predict(x)}
    if hasattr(fitted, "predict_proba"):
        answers.update(zip(map(str, fitted.classes_), fitted.predict_proba(x).T, strict=True))
    pd.DataFrame(answers).to_csv(HERE / f"{name}.csv", index=False, float_format="%.9f")
    joblib.dump(fitted, HERE / f"{name}.pkl", compress=("zlib", 9))
