# Everything runs in .venv, which is made from the requirements the first time and when they change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo app test browser lint clean

demo: $(VENV)/run.stamp  ## renders talking faces, prepares them, trains, evaluates, predicts
	$(BIN)/python -m data_prep --dataset=synthetic --clips=770 --out=demo/data \
	    --image_size=48 --sample_rate=16000 --detect_every=6 --min_face=80
	$(BIN)/python main.py --config=configs/demo.py --workdir=demo/run
	$(BIN)/python -m data_prep.synthetic --clip=demo/new_clip.mp4 --label=Surprise --seed=2026
	$(BIN)/python -m mmadfer_jax.predict demo/new_clip.mp4 --checkpoint=demo/run
	@echo
	@echo "demo/data/report.html             what was prepared, with pictures"
	@echo "demo/run/report/results.json      UAR, WAR, recalls, confusion matrix"
	@echo "demo/run/report/*.png             confusion matrix and curves"
	@echo "demo/new_clip.mp4                 the clip that was predicted (a Surprise)"

app: demo/run $(VENV)/app.stamp  ## a page to try the demo's model on clips of your own
	$(BIN)/python -m mmadfer_jax.serve --checkpoint=demo/run

demo/run:
	@echo "error: there is no demo/run; give \`make demo\` first, which trains the model"; exit 1

test: $(VENV)/dev.stamp  ## the tests
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

browser: $(VENV)/browser.stamp  ## what the tests of pages need beside a Chromium, else they are left out

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run.stamp: requirements.txt | $(VENV)/python.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt requirements-beam.txt requirements.txt | $(VENV)/python.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp

$(VENV)/app.stamp: requirements-app.txt requirements.txt | $(VENV)/python.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-app.txt
	@touch $@ $(VENV)/run.stamp

$(VENV)/browser.stamp: requirements-browser.txt requirements-app.txt $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-browser.txt
	@touch $@ $(VENV)/app.stamp

clean:
	rm -rf $(VENV) demo
