;;; -*- lexical-binding: t; -*-
;; Does in Emacs with Eglot what the steps in $TAPEFIX_STEPS say: see driver.py.

(require 'cl-lib)
(require 'json)
(require 'package)
;; Where Debian keeps its packages, which -Q leaves out.
(add-to-list 'package-directory-list "/usr/share/emacs/site-lisp/elpa")
(package-initialize)
(require 'eglot)
(require 'flymake)

(defun await (what condition)
  (let ((end (+ (float-time) 60)))
    (while (not (funcall condition))
      (when (> (float-time) end)
        (error "waited in vain for %s" what))
      (accept-process-output nil 0.05)
      ;; Idle timers, by which Eglot sends what was typed, do not run in batch mode.
      (when (eglot-managed-p)
        (eglot--signal-textDocument/didChange)))))

(defun diagnosed ()
  (flymake-diagnostics))

(defun open (path)
  (find-file path)
  (let ((eglot-sync-connect t))
    (unless (eglot-managed-p)
      (call-interactively #'eglot)))
  (await "the server" #'eglot-managed-p)
  (await "diagnostics" (lambda () (flymake-start nil) (diagnosed))))

(defun take (line title)
  (goto-char (point-min))
  (forward-line (1- line))
  (cl-letf ((last-nonmenu-event ?\r) ; not by mouse
            ((symbol-function 'completing-read)
             (lambda (_prompt collection &rest _)
               (let ((titles (all-completions "" collection)))
                 (or (cl-find-if (lambda (one) (string-search title one)) titles)
                     (error "not offered: %s among %S" title titles))))))
    (eglot-code-actions (point) (line-end-position) nil t)))

(defun do-step (name &rest rest)
  (pcase name
    ("open" (open (car rest)))
    ("show" (find-file (car rest)))
    ("take" (take (car rest) (cadr rest)))
    ("type" (goto-char (point-min)) (insert (car rest) "\n"))
    ("await" (await (car rest) (lambda () (string-search (car rest) (buffer-string)))))
    ("clean" (await "no diagnostics" (lambda () (flymake-start nil) (not (diagnosed)))))
    ("pause" (sleep-for (car rest)))
    ("save" (save-buffer))))

(setq make-backup-files nil
      create-lockfiles nil)
(load (getenv "TAPEFIX_SETUP") nil t)
(let ((json-array-type 'list))
  (dolist (step (json-read-from-string (getenv "TAPEFIX_STEPS")))
    (apply #'do-step step)))
