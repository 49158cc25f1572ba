"""Figures: what they show, that they are the same every time, and what they ask for."""

import functools
import re
import sys
import xml.etree.ElementTree as ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.patches import StepPatch
from scipy import stats

from jbce import metrics, plots
from jbce.metrics import Comparison, PrecisionRecallCurve, Reliability, RocCurve

NASTY = "_a very long name, which costs $5 or $6 & has no end, and goes on and on and on"


def bins(num_bins=10, empty=3):
    centres = (np.arange(num_bins) + 0.5) / num_bins
    weight = np.arange(num_bins, dtype=float)
    weight[empty] = 0
    means = np.where(weight == 0, np.nan, centres)
    return Reliability(*map(jnp.asarray, (means, means**2, weight)))


def nothing(kind, size=3):
    return kind(*(jnp.full(size, np.nan) for _ in kind._fields))


def two_rows(kind):
    return kind(*(jnp.ones((2, 10)) for _ in kind._fields))


def ranked(number, separation=1.0, seed=0):
    """Logits and labels; some logits are tied."""
    rng = np.random.default_rng(seed)
    labels = rng.random(number) < 0.4
    logits = np.round(rng.normal(size=number) + separation * labels, 5).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(labels)


@functools.cache
def roc(*arguments):
    return metrics.roc_curve(*ranked(*arguments))


@functools.cache
def precision_recall(*arguments):
    return metrics.precision_recall_curve(*ranked(*arguments))


def scores(*arguments, edges=12):
    return plots.score_histogram(*ranked(*arguments), edges=edges)


def comparison(differences, errors, baseline=0):
    difference, error = (jnp.asarray(a, float) for a in (differences, errors))
    p = jnp.ones(difference.shape)
    return Comparison(
        estimate=difference + 0.5,
        baseline=jnp.asarray(baseline),
        difference=difference,
        standard_error=error,
        low=difference - 2 * error,
        high=difference + 2 * error,
        adjusted_low=difference - 3 * error,
        adjusted_high=difference + 3 * error,
        p_value=p,
        adjusted_p_value=p,
    )


def segments(axes):
    """The ends of bars: [bars, 2, (across, up)]."""
    (bars,) = axes.collections
    return np.array(bars.get_segments())


def corners(line):
    return np.asarray(line.get_xydata())


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def audit():
    from jbce import verify

    rows = [
        verify.AuditRow(dtype, margin, {"loss": 0.5 if margin < 1 else 1e7}, {})
        for dtype in ("float32", "bfloat16")
        for margin in (0.0, 1.0, 2.0)
    ]
    return verify.AuditReport("integer", tuple(rows))


FIGURES = {
    "audit_heatmap": lambda: plots.audit_heatmap({"first": audit(), "second": audit()}),
    "training_curve": lambda: plots.training_curve(
        {"first": np.array([0.7, 0.3, 0.1]), "second": np.array([0.6])}
    ),
    "training_curve_through_zero": lambda: plots.training_curve({"first": np.array([0.7, 0.0])}),
    "training_curve_from_early_on": lambda: plots.training_curve(
        {"first": np.geomspace(1, 0.1, 300)}, xscale="log"
    ),
    "training_curve_of_nothing": lambda: plots.training_curve({}),
    "reliability_diagram": lambda: plots.reliability_diagram({"first": bins()}),
    "reliability_diagrams": lambda: plots.reliability_diagram({"first": bins(), "second": bins()}),
    "reliability_diagram_of_bad_names": lambda: plots.reliability_diagram(
        {NASTY: bins(), "second": bins(), "nothing": nothing(Reliability, 10)}
    ),
    "roc_curve": lambda: plots.roc_curve({"first": roc(100, 4.0), "second": roc(100, 5.0)}),
    "roc_curve_of_a_weak_model": lambda: plots.roc_curve({"first": roc(100)}),
    "roc_curve_of_bad_names": lambda: plots.roc_curve(
        {NASTY: roc(100), "second": nothing(RocCurve)}
    ),
    "precision_recall_curve": lambda: plots.precision_recall_curve(
        {"first": precision_recall(100)}
    ),
    "precision_recall_curve_of_bad_names": lambda: plots.precision_recall_curve(
        {NASTY: precision_recall(100), "second": nothing(PrecisionRecallCurve)}
    ),
    "score_distributions": lambda: plots.score_distributions({"first": scores(100)}),
    "score_distributions_of_bad_names": lambda: plots.score_distributions(
        {
            NASTY: scores(100),
            "open": plots.ScoreHistogram(np.array([-np.inf, 0, 1e9]), np.ones(2), np.zeros(2)),
        },
        threshold=None,
    ),
    "metric_differences": lambda: plots.metric_differences(
        {"log loss": comparison([0, 2e-5, -1e-5], [0, 1e-5, 1e-6])}, ["first", "second", "third"]
    ),
    "metric_differences_of_bad_names": lambda: plots.metric_differences(
        {
            NASTY: comparison([np.nan, np.inf, 0, -1e7], [0, 0, 0, np.inf], 2),
            "nothing": comparison([np.nan] * 4, [np.nan] * 4),
        },
        [NASTY, "second", "third", "fourth"],
    ),
    "metric_differences_of_nothing": lambda: plots.metric_differences({}, []),
}


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_well_formed_undated_and_the_same_every_time(name):
    figure = FIGURES[name]()
    drawing = plots.svg(figure)
    ElementTree.fromstring(drawing)
    assert drawing == plots.svg(figure) == plots.svg(FIGURES[name]())
    assert "metadata" not in drawing
    assert not re.search(r"\b20\d\d-\d\d-\d\d", drawing)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_figure(name):
    figure = FIGURES[name]()
    figure.canvas.draw()
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert tight.x0 >= 0 and tight.y0 >= 0
    assert tight.x1 <= width and tight.y1 <= height


def test_text_stays_text():
    drawing = plots.svg(FIGURES["training_curve"]())
    texts = [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawing)]
    assert {"first", "second", "epoch", "mean loss (nats)"} <= set(texts)


@pytest.mark.parametrize("name", [name for name in FIGURES if "bad_names" in name])
def test_names_are_taken_letter_by_letter(name):
    drawing = ElementTree.fromstring(plots.svg(FIGURES[name]()))
    words = " ".join(element.text or "" for element in drawing.iter() if "text" in element.tag)
    assert NASTY[:15] in words and "$5" in words and "$6" in words


def test_ink_takes_the_colour_of_the_page():
    figure = FIGURES["reliability_diagram"]()
    plain, inked = plots.svg(figure), plots.svg(figure, ink="currentColor")
    assert "currentColor" not in plain and "#ffffff" in plain
    assert "currentColor" in inked and "#ffffff" not in inked and "#24292f" not in inked


def test_training_curve_is_logarithmic_where_it_can_be():
    assert FIGURES["training_curve"]().axes[0].get_yscale() == "log"
    assert FIGURES["training_curve_through_zero"]().axes[0].get_yscale() == "linear"


def test_training_curve_starts_at_epoch_one():
    (axes,) = FIGURES["training_curve"]().axes
    (line, _) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    assert axes.get_xlabel() == "epoch"
    (axes,) = plots.training_curve({"first": np.array([0.7])}, xlabel="step").axes
    assert axes.get_xlabel() == "step"


def test_reliability_diagram_shows_the_bins_that_hold_something():
    given = bins(num_bins=10, empty=3)
    axes, histogram = plots.reliability_diagram({"first": given}).axes
    assert axes.get_xlim() == axes.get_ylim() == (0, 1)
    assert axes.get_aspect() == 1
    _, line = axes.get_lines()
    held = given.weight > 0
    np.testing.assert_array_equal(line.get_xdata(), given.confidence[held])
    np.testing.assert_array_equal(line.get_ydata(), given.accuracy[held])
    (steps,) = histogram.patches
    assert isinstance(steps, StepPatch)
    shares, edges, _ = steps.get_data()
    np.testing.assert_allclose(shares[held], (given.weight / given.weight.sum())[held], rtol=1e-6)
    assert np.isnan(shares[~held]).all()
    np.testing.assert_allclose(edges, np.linspace(0, 1, 11))


def test_reliability_diagram_refuses_unequal_bins():
    with pytest.raises(ValueError, match=r"same number of bins.*'first': 10.*'second': 5"):
        plots.reliability_diagram({"first": bins(10), "second": bins(5)})


@pytest.mark.parametrize(
    ("of", "names"),
    [
        ("top_label", ("confidence", "accuracy")),
        ("positive", ("probability of the positive class", "share of positives")),
        ("classes", ("probability of the class", "share of the class")),
    ],
)
def test_reliability_diagram_names_what_is_judged(of, names):
    axes, histogram = plots.reliability_diagram({"first": bins()}, of=of).axes
    assert (histogram.get_xlabel(), axes.get_ylabel()) == names


def test_reliability_diagram_of_other_bins_has_a_bar_at_each_mean():
    means = jnp.array([0.1, 0.11, 0.2, 0.9])
    _, histogram = plots.reliability_diagram({"mass": Reliability(means, means, jnp.ones(4))}).axes
    np.testing.assert_array_equal(segments(histogram)[:, 1], [[m, 0.25] for m in means])


def drawn_bands(figure):
    return segments(figure.axes[0])[:, :, 1].T


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
def test_bands_are_binomial_quantiles(level):
    counts, probs = np.meshgrid(
        [1, 2, 7, 60, 1001, 12345, 10**6], np.array([0, 1e-6, 0.01, 0.3, 0.5, 0.999, 1], np.float32)
    )
    counts, probs = counts.ravel(), probs.ravel().astype(float)
    given = Reliability(*(jnp.asarray(a, jnp.float32) for a in (probs, probs, counts)))
    low, high = drawn_bands(plots.reliability_diagram({"first": given}, bands=level))
    for ends, share in ((low, (1 - level) / 2), (high, (1 + level) / 2)):
        np.testing.assert_array_equal(np.rint(ends * counts), stats.binom.ppf(share, counts, probs))


def test_bands_of_very_many_are_right_to_a_count_or_two():
    counts, probs = (
        2.0 ** np.array([30, 34, 50]),
        np.array([0.3, 0.01, 0.999], np.float32).astype(float),
    )
    given = Reliability(*(jnp.asarray(a, jnp.float32) for a in (probs, probs, counts)))
    ends = drawn_bands(plots.reliability_diagram({"first": given}))
    exact = [stats.binom.ppf(share, counts, probs) for share in (0.025, 0.975)]
    np.testing.assert_allclose(ends * counts, exact, rtol=0, atol=2)


def test_a_large_marker_is_a_point_outside_its_band():
    count, probs = 49, jnp.array([0.3, 0.31])
    low, high = stats.binom.ppf([0.025, 0.975], count, np.asarray(probs))
    models = {
        "inside": jnp.array([low, high]) / count,
        "outside": jnp.array([low - 1, high + 1]) / count,
        "half": jnp.array([low, high + 1]) / count,
    }
    axes, _ = plots.reliability_diagram(
        {k: Reliability(probs, a.astype(jnp.float32), jnp.full(2, 49.0)) for k, a in models.items()}
    ).axes
    large = [line.get_ydata() for line in axes.get_lines() if line.get_linestyle() == "None"]
    np.testing.assert_allclose(np.concatenate(large), [*models["outside"], models["half"][1]])
    assert not axes.collections


def test_bands_may_be_left_out():
    models = {"first": bins(), "second": bins()}
    assert not plots.reliability_diagram({"first": bins()}, bands=None).axes[0].collections
    axes, _ = plots.reliability_diagram(models, bands=None).axes
    assert legend(axes) == ["first", "second"]
    for bad in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match=r"`bands` must be between 0 and 1"):
            plots.reliability_diagram(models, bands=bad)


def test_roc_curve_enlarges_the_corner_of_good_models_only():
    assert len(FIGURES["roc_curve"]().axes[0].child_axes) == 1
    assert len(FIGURES["roc_curve_of_a_weak_model"]().axes[0].child_axes) == 0


def test_legends_name_the_areas():
    logits, labels = ranked(100)
    area, mean = metrics.roc_auc(logits, labels), metrics.average_precision(logits, labels)
    (axes,) = plots.roc_curve({"first": roc(100), "none": nothing(RocCurve)}).axes
    assert legend(axes) == [f"first (area {area:.4f})", "none (area undefined)"]
    (axes,) = FIGURES["precision_recall_curve"]().axes
    share = np.mean(labels)
    assert legend(axes) == [f"first (AP {mean:.4f})", f"base rate {share:.3g}"]
    np.testing.assert_allclose(corners(axes.get_lines()[1])[:, 1], share, rtol=1e-6)


def distance(points, line):
    """The largest one from any of the points to the line through others."""
    starts, ends = line[:-1], line[1:]
    chord, between = ends - starts, points[:, None] - starts
    length = np.maximum((chord**2).sum(-1), 1e-30)
    along = np.clip((between * chord).sum(-1) / length, 0, 1)
    return np.linalg.norm(between - along[..., None] * chord, axis=-1).min(axis=1).max()


def test_what_is_left_out_cannot_be_seen():
    logits, labels = ranked(20_000, 3.0)
    curve = metrics.roc_curve(logits, labels)
    full = np.column_stack(curve[:2])
    axes = plots.roc_curve({"first": curve}).axes[0]
    line = corners(axes.get_lines()[-1])
    assert len(line) < 1000 and distance(full[::10], line) < 1e-3
    np.testing.assert_array_equal(line[[0, -1]], [[0, 0], [1, 1]])
    (corner,) = axes.child_axes
    near = full[(full[:, 0] <= 0.1) & (full[:, 1] >= 0.9)]
    assert distance(near[::10], corners(corner.get_lines()[-1])) < 1e-4

    curve = metrics.precision_recall_curve(logits, labels)
    (axes,) = plots.precision_recall_curve({"first": curve}).axes
    steps = corners(axes.get_lines()[0])
    first = np.append(False, np.diff(curve.recall) > 0)
    full = np.column_stack([curve.recall, curve.precision])[first]
    assert len(steps) < 1000 and distance(full[::10], steps) < 1e-3


def test_the_area_under_the_steps_is_the_average_precision():
    for number in (100, 2000):
        logits, labels = ranked(number)
        figure = plots.precision_recall_curve({"first": precision_recall(number)})
        recall, precision = corners(figure.axes[0].get_lines()[0]).T
        area = np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2)
        np.testing.assert_allclose(area, metrics.average_precision(logits, labels), atol=1e-3)


@pytest.mark.parametrize("number", [2000, 300_000])  # the noisiest to be seen, and many
def test_curves_stay_small(number):
    models = range(6 if number < 9999 else 2)
    figures = (
        plots.roc_curve({f"model {i}": roc(number, 0.6 * i, i) for i in models}),
        plots.precision_recall_curve(
            {f"model {i}": precision_recall(number, 0.6 * i, i) for i in models}
        ),
    )
    assert max(len(plots.svg(figure)) for figure in figures) < 100_000


def test_score_histogram_counts_what_exists():
    logits, labels = ranked(500)
    edges, weights = np.linspace(-2, 3, 11), np.arange(500) % 3.0
    where = np.arange(500) % 5 > 0
    found = plots.score_histogram(logits, labels, edges=edges, weights=weights, where=where)
    clipped, amounts = np.clip(logits, -2, 3), weights * where
    for counts, those in ((found.positives, labels), (found.negatives, ~labels)):
        those = np.asarray(those)
        expected, _ = np.histogram(clipped[those], edges, weights=amounts[those])
        np.testing.assert_allclose(counts, expected)
    halves = [
        plots.score_histogram(logits[h], labels[h], edges=edges)
        for h in np.split(np.arange(500), 2)
    ]
    whole = plots.score_histogram(logits, labels, edges=edges)
    np.testing.assert_array_equal(halves[0].positives + halves[1].positives, whole.positives)


def test_score_histogram_of_infinite_few_and_no_scores(unchecked_signatures):
    logits, labels = np.array([-np.inf, 0.0, 1.0, np.inf, np.nan]), np.array([0, 0, 1, 1, 1])
    found = plots.score_histogram(logits, labels, edges=2, where=~np.isnan(logits))
    np.testing.assert_array_equal(found[1:], [[0, 2], [2, 0]])
    open_ended = plots.score_histogram(logits[:4], labels[:4], edges=np.array([-np.inf, 0, np.inf]))
    np.testing.assert_array_equal(open_ended[1:], [[0, 2], [1, 1]])
    same = plots.score_histogram(np.full(3, 7.0), np.ones(3), edges=4)
    assert same.edges[0] < 7 < same.edges[-1] and same.positives.sum() == 3
    assert plots.score_histogram(logits, labels, where=False).positives.sum() == 0
    with pytest.raises(ValueError, match="1 of the `logits` that count are NaN"):
        plots.score_histogram(logits, labels)
    with pytest.raises(ValueError, match="`edges` must rise"):
        plots.score_histogram(logits, labels, edges=np.array([0.0, 0.0]), where=False)
    with pytest.raises(ValueError, match=r"same shape.*\(5,\).*\(4,\)"):
        plots.score_histogram(logits, labels[:4])


def test_score_distributions_have_an_area_of_one_on_one_axis():
    given = {"first": scores(100), "second": scores(500, 3.0)}
    figure = plots.score_distributions(given)
    panels = [axes for axes in figure.axes if axes.patches]
    assert len({axes.get_xlim() for axes in panels}) == 1
    for axes, histogram in zip(panels, given.values(), strict=True):
        for patch, counts in zip(axes.patches, histogram[:0:-1], strict=True):
            assert isinstance(patch, StepPatch)
            density, edges, _ = patch.get_data()
            np.testing.assert_allclose(density * np.diff(edges), counts / np.sum(counts))
            np.testing.assert_array_equal(edges, histogram.edges)


def test_metric_differences_show_what_came():
    given = comparison([0.3, 0.0, -0.1], [0.1, 0.0, 0.02], baseline=1)
    names = ["first", "second", "third"]
    figure = plots.metric_differences({"log loss": given, "accuracy": given}, names)
    panels = [axes for axes in figure.axes if axes.get_lines()]
    assert len(panels) == 2
    for axes in panels:
        rows = axes.get_yticks()
        assert [label.get_text() for label in axes.get_yticklabels()] == names
        assert rows[0] < rows[1] < rows[2] and axes.yaxis_inverted()
        words = [text.get_text() for text in axes.texts]
        assert {"0.8000", "0.5000", "0.4000"} <= set(words)
        found = [corners(line) for line in axes.get_lines()[1:]]
        drawn = {(tuple(points[:, 0]), points[0, 1]) for points in found}
        expected: set[tuple[tuple[float, ...], float]] = {((0.0,), rows[1])}
        for model in (0, 2):
            for ends in (
                (given.difference,),
                (given.low, given.high),
                (given.adjusted_low, given.adjusted_high),
            ):
                expected.add((tuple(float(end[model]) for end in ends), rows[model]))
        assert drawn == expected


def test_metric_differences_keep_an_infinite_interval_inside():
    figure = plots.metric_differences({"m": comparison([0, 1], [0, np.inf])}, ["first", "second"])
    axes = figure.axes[-1]
    ends = axes.get_xlim()
    assert tuple(corners(axes.get_lines()[2])[:, 0]) == ends
    assert ends[0] < 0 and ends[1] > 1 and np.isfinite(ends).all()


def test_small_differences_have_short_ticks():
    axes = FIGURES["metric_differences"]().axes[-1]
    axes.figure.canvas.draw()
    assert {"−2", "0", "+2", "+4"} <= {label.get_text() for label in axes.get_xticklabels()}
    assert "×10⁻⁵" in [text.get_text() for text in axes.texts]


def test_a_figure_shows_one_model_per_label():
    rows = {
        "reliabilities": lambda: plots.reliability_diagram({"two": two_rows(Reliability)}),
        "curves": lambda: plots.roc_curve({"two": two_rows(RocCurve)}),
        "comparisons": lambda: plots.metric_differences(
            {"two": comparison(np.ones((2, 3)), np.ones((2, 3)))}, list("abc")
        ),
    }
    for name, draw in rows.items():
        with pytest.raises(ValueError, match=rf"`{name}\['two'\]` must have one axis"):
            draw()
    with pytest.raises(ValueError, match=r"3 models of `comparisons\['m'\]`, but 2 came"):
        plots.metric_differences({"m": comparison([0, 1, 2], [0, 1, 1])}, ["first", "second"])


def test_audit_heatmap_shows_what_was_measured():
    from jbce import verify

    report = verify.AuditReport(
        "integer",
        tuple(
            verify.AuditRow("float32", margin, ulps, {})
            for margin, ulps in [(0.0, {"loss": 0.5}), (1.0, {"loss": 1e7}), (2.0, {})]
        ),
    )
    first, *_, scale = plots.audit_heatmap({"a loss": report}).axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["a loss, float32"]
    assert len(first.collections) == 2 and scale.get_xlabel() == "ulp"


def test_pyplot_keeps_no_figure():
    import matplotlib.pyplot

    for make in FIGURES.values():
        make()
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize("name", FIGURES)
def test_a_missing_matplotlib_names_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'jbce\[evaluate\]'"):
        FIGURES[name]()
